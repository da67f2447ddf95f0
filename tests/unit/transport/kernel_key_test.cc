// What the transports of the kernel's sockets ask it so that it seals (kTLS), and what becomes of a refusal.
#include "src/transport/kernel_key.h"

#include "src/base/unique_fd.h"
#include "src/transport/send_job.h"
#include "tests/support/fake_kernel_tls.h"
#include "tests/support/sim_transport.h"
#include "tests/unit/transport/world.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock::test {
namespace {

constexpr uint8_t ALERT_RECORD = 21;

TEST(KernelKey, is_given_in_two_calls_and_the_next_in_one) {
  const std::string key(40, 'k');
  std::vector<SocketOption> asked;
  const auto take = [&](const SocketOption& option) {
    asked.push_back(option);
    return 0;
  };
  EXPECT_EQ(give_kernel_key(key, true, take), 0);
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[0].level, IPPROTO_TCP);
  EXPECT_EQ(asked[0].name, TCP_ULP);
  EXPECT_STREQ(static_cast<const char*>(asked[0].value), "tls");
  EXPECT_EQ(asked[0].size, sizeof "tls");
  EXPECT_EQ(asked[1].level, SOL_TLS);
  EXPECT_EQ(asked[1].name, TLS_TX);
  EXPECT_EQ(asked[1].value, key.data());
  EXPECT_EQ(asked[1].size, key.size());
  asked.clear();
  EXPECT_EQ(give_kernel_key(key, false, take), 0);
  ASSERT_EQ(asked.size(), 1U);
  EXPECT_EQ(asked[0].level, SOL_TLS);
}

TEST(KernelKey, the_first_refusal_is_the_answer) {
  for (const size_t at : {size_t{1}, size_t{2}}) {
    size_t calls = 0;
    const auto refuse = [&](const SocketOption&) { return ++calls == at ? EBUSY : 0; };
    EXPECT_EQ(give_kernel_key("key", true, refuse), EBUSY);
    EXPECT_EQ(calls, at);
  }
}

TEST(KernelKey, the_record_type_goes_beside_the_message) {
  const SendPart part = SendPart::memory("\x01\x00", 2);
  SendJob job({&part, 1}, false);
  EXPECT_EQ(job.message()->msg_controllen, 0U);
  job.set_record_type(ALERT_RECORD);
  const msghdr* const message = job.message();
  const cmsghdr* const header = CMSG_FIRSTHDR(message);
  ASSERT_NE(header, nullptr);
  EXPECT_EQ(header->cmsg_level, SOL_TLS);
  EXPECT_EQ(header->cmsg_type, TLS_SET_RECORD_TYPE);
  EXPECT_EQ(header->cmsg_len, CMSG_LEN(1));
  EXPECT_EQ(*CMSG_DATA(header), ALERT_RECORD);
  EXPECT_EQ(CMSG_NXTHDR(const_cast<msghdr*>(message), const_cast<cmsghdr*>(header)), nullptr);
}

// A real socket and whatever kernel there is. One without the module refuses, and the socket goes on in plain; one with
// it seals, and what arrives is what OpenSSL makes of the same key.
class KernelKeySocket : public testing::TestWithParam<Kind> {};

TEST_P(KernelKeySocket, is_asked_and_a_refusal_changes_nothing) {
  const auto world = World::make(GetParam(), {.connections_max = 16, .receive_buffers = 16});
  if (world == nullptr) GTEST_SKIP() << "io_uring is refused on this machine";
  Server server(*world);
  const auto peer = world->connect();
  ASSERT_TRUE(server.until([&] { return !server.conns().empty(); }));
  tls12_crypto_info_aes_gcm_128 info{};
  info.info = {.version = TLS_1_3_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128};
  std::fill_n(info.key, sizeof info.key, uint8_t{7});
  std::string key(reinterpret_cast<const char*>(&info), sizeof info);
  Server::Conn& conn = server.conn(0);
  Transport& transport = world->transport();
  const int error = transport.take_key(conn.handle, key);
  std::string expected;
  const auto expect = [&](uint8_t type, const std::string& plain) {
    expected += error == 0 ? seal_like_kernel(key, type, plain) : plain;
  };
  const std::string text = pattern(10'000, 1);
  server.send_text(conn, text);
  expect(23, text);
  ASSERT_TRUE(server.until([&] { return conn.sent == 1; }));
  const UniqueFd file(memory_file(text));
  const SendPart part = SendPart::file(file.get(), 0, 3'000);
  transport.send(conn.handle, {&part, 1}, false);
  expect(23, text.substr(0, 3'000));
  ASSERT_TRUE(server.until([&] { return conn.sent == 2; }));
  if (error == 0) {
    const std::string goodbye("\x01\x00", 2);
    transport.send_record(conn.handle, ALERT_RECORD, goodbye);
    expect(ALERT_RECORD, goodbye);
    ASSERT_TRUE(server.until([&] { return conn.sent == 3; }));
  } else {
    EXPECT_TRUE(error == ENOENT || error == ENOPROTOOPT || error == EOPNOTSUPP) << error;
  }
  std::string got;
  EXPECT_TRUE(server.until([&] { return (got += peer->read(65'536)).size() >= expected.size(); }));
  EXPECT_TRUE(got == expected) << "of " << expected.size() << " bytes, refused with " << error;
  server.close_all();
  EXPECT_TRUE(server.until([&] { return transport.connection_count() == 0; }));
}

INSTANTIATE_TEST_SUITE_P(Transports, KernelKeySocket, testing::Values(Kind::URING, Kind::URING_PLAIN, Kind::EPOLL),
                         [](const auto& one) { return kind_name(one.param); });

TEST(KernelKey, is_nothing_for_other_transports) {
  SimTransport sim({.connections_max = 8}, 1);
  EXPECT_EQ(sim.take_key({}, {}), ENOSYS);
}

}  // namespace
}  // namespace penstock::test
