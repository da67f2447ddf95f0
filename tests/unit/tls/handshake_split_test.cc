// A session does not care in which pieces the client's bytes come: one by one, or cut at any place.
#include "src/tls/tls_session.h"
#include "tests/support/tls_world.h"

#include <functional>
#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr std::string_view SAID = "GET / HTTP/1.1\r\n\r\n";

class HandshakeSplit : public ::testing::TestWithParam<int> {
 protected:
  // A whole connection: handshake, SAID, close_notify. `piece` says how many bytes of the client's come next, of
  // those that it has said so far. Returns how many there were in all, and what was read.
  std::string run(const std::function<size_t(size_t fed)>& piece, size_t& fed) {
    test::TlsClient client({.server_name = "example.org", .version_min = GetParam(), .version_max = GetParam()});
    CipherPool pool;
    CipherChain out;
    TlsSession session(*parts_.context, pool, out, 1'800'000'000);
    std::string to_server;
    std::string read;
    auto step = TlsSession::Step::MORE;
    bool handshaken = false;
    bool said = false;
    fed = 0;
    while (true) {
      client.step();
      if (client.done() && !said) {
        said = true;
        client.write(SAID);
        client.goodbye();
      }
      to_server += client.take_output();
      if (to_server.empty()) break;
      const std::string now = to_server.substr(0, piece(fed));
      to_server.erase(0, now.size());
      fed += now.size();
      session.lend(now);
      if (!handshaken) step = session.handshake();
      handshaken = handshaken || step == TlsSession::Step::DONE;
      if (handshaken) step = take(session, read);
      if (step == TlsSession::Step::FAILED) return std::string("failed: ") + reason_info(session.reason()).name.data();
      EXPECT_TRUE(session.unused().empty() || step == TlsSession::Step::END);
      session.lend({});
      for (const auto& block : out.blocks()) client.feed({block->data, block->used});
      out.clear(pool);
      if (step == TlsSession::Step::END) break;
    }
    return read + (step == TlsSession::Step::END ? ", the end" : ", no end");
  }

 private:
  static TlsSession::Step take(TlsSession& session, std::string& to) {
    std::array<char, 7> room;  // less than what is said
    auto step = TlsSession::Step::DONE;
    while (step == TlsSession::Step::DONE) {
      size_t got = 0;
      step = session.read(room, got);
      to.append(room.data(), got);
    }
    return step;
  }
  test::TlsParts parts_;
};

TEST_P(HandshakeSplit, byte_by_byte) {
  size_t fed = 0;
  EXPECT_EQ(run([](size_t) { return 1; }, fed), std::string(SAID) + ", the end");
  EXPECT_GT(fed, 300U);
}

TEST_P(HandshakeSplit, cut_at_every_place) {
  size_t all = 0;
  ASSERT_EQ(run([](size_t) { return SIZE_MAX; }, all), std::string(SAID) + ", the end");
  for (size_t cut = 1; cut < all; ++cut) {
    size_t fed = 0;
    ASSERT_EQ(run([cut](size_t now) { return now < cut ? cut - now : SIZE_MAX; }, fed), std::string(SAID) + ", the end")
        << "cut at " << cut;
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, HandshakeSplit, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& one) { return one.param == TLS1_2_VERSION ? "tls12" : "tls13"; });

}  // namespace
}  // namespace penstock
