// The channel against a peer that keeps the protocol, and against one that does everything else.
#include "src/admin/channel.h"

#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <utility>

namespace penstock {
namespace {

struct Ends {
  Channel supervisor;
  Channel role;
};

Ends make_ends() {
  auto pair = Channel::make_pair();
  EXPECT_TRUE(pair.has_value());
  return {std::move(pair->ours), Channel(std::move(pair->theirs), ChannelSide::ROLE)};
}

// The header as it is on the wire, to be spoilt at will.
struct Header {
  uint32_t magic = 0x706e7374;
  uint16_t kind = static_cast<uint16_t>(MessageKind::LOG);
  uint16_t flags = 0;
  uint32_t id = 0;
  uint32_t payload_bytes = 0;
};

void send_raw(int socket, const Header& header, std::string_view body, const std::vector<int>& fds = {}) {
  std::string packet(reinterpret_cast<const char*>(&header), sizeof header);
  packet += body;
  iovec part{packet.data(), packet.size()};
  char control[CMSG_SPACE(16 * sizeof(int))] = {};
  msghdr msg{};
  msg.msg_iov = &part;
  msg.msg_iovlen = 1;
  if (!fds.empty()) {
    msg.msg_control = control;
    msg.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  }
  ASSERT_EQ(::sendmsg(socket, &msg, MSG_NOSIGNAL), static_cast<ssize_t>(packet.size()));
}

int open_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) >= 0;
  return count;
}

UniqueFd memfd_of(std::string_view text, int seals) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

constexpr int ALL_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

TEST(Channel, carries_kind_id_and_payload_both_ways) {
  Ends ends = make_ends();
  ASSERT_TRUE(ends.supervisor.send(MessageKind::QUERY, 7, "{\"q\":1}"));
  auto query = ends.role.receive();
  ASSERT_TRUE(query && query->has_value());
  EXPECT_EQ((*query)->kind, MessageKind::QUERY);
  EXPECT_EQ((*query)->id, 7U);
  EXPECT_EQ((*query)->payload, "{\"q\":1}");
  ASSERT_TRUE(ends.role.send(MessageKind::REPLY, 7, ""));
  auto reply = ends.supervisor.receive();
  ASSERT_TRUE(reply && reply->has_value());
  EXPECT_EQ((*reply)->payload, "");
}

TEST(Channel, says_nothing_when_nothing_waits) {
  Ends ends = make_ends();
  auto got = ends.role.receive();
  ASSERT_TRUE(got);
  EXPECT_FALSE(got->has_value());
}

TEST(Channel, carries_payloads_of_every_size_up_to_its_limit) {
  for (const size_t bytes :
       {size_t{1}, CHANNEL_INLINE_MAX, CHANNEL_INLINE_MAX + 1, size_t{1} << 20, CHANNEL_PAYLOAD_MAX}) {
    Ends ends = make_ends();
    std::string payload(bytes, 'x');
    payload.back() = 'y';
    ASSERT_TRUE(ends.role.send(MessageKind::REPLY, 1, payload)) << bytes;
    auto got = ends.supervisor.receive();
    ASSERT_TRUE(got && got->has_value()) << bytes;
    EXPECT_TRUE((*got)->payload == payload) << bytes;
    EXPECT_TRUE((*got)->fds.empty()) << "the payload's own descriptor shows";
  }
}

TEST(Channel, refuses_to_send_beyond_its_limit) {
  Ends ends = make_ends();
  const auto sent = ends.role.send(MessageKind::REPLY, 1, std::string(CHANNEL_PAYLOAD_MAX + 1, 'x'));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, EMSGSIZE);
  EXPECT_TRUE(ends.role.open());
}

TEST(Channel, carries_descriptors_in_order_over_several_packets) {
  Ends ends = make_ends();
  const UniqueFd a(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd b(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  std::vector<int> fds(CHANNEL_PACKET_FDS_MAX + 10, a.get());
  fds[CHANNEL_PACKET_FDS_MAX + 5] = b.get();
  ASSERT_TRUE(ends.supervisor.send(MessageKind::HELLO, 0, std::string(CHANNEL_INLINE_MAX + 1, 'c'), fds));
  auto got = ends.role.receive();
  ASSERT_TRUE(got && got->has_value());
  ASSERT_EQ((*got)->fds.size(), fds.size());
  struct stat null {};
  struct stat zero {};
  struct stat st {};
  ::fstat(a.get(), &null);
  ::fstat(b.get(), &zero);
  for (size_t i = 0; i < fds.size(); ++i) {
    ASSERT_EQ(::fstat((*got)->fds[i].get(), &st), 0);
    EXPECT_EQ(st.st_rdev, i == CHANNEL_PACKET_FDS_MAX + 5 ? zero.st_rdev : null.st_rdev) << i;
    EXPECT_EQ(::fcntl((*got)->fds[i].get(), F_GETFD), FD_CLOEXEC);
  }
}

TEST(Channel, never_blocks_on_a_peer_that_does_not_read) {
  Ends ends = make_ends();
  Status sent;
  for (int i = 0; i < 10'000 && sent; ++i) sent = ends.supervisor.send(MessageKind::PING, 1, std::string(1000, 'x'));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, EAGAIN);
  EXPECT_TRUE(ends.supervisor.open());
}

TEST(Channel, tells_that_the_peer_has_gone) {
  Ends ends = make_ends();
  ends.role.close();
  const auto got = ends.supervisor.receive();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, CHANNEL_CLOSED);
  const auto sent = ends.supervisor.send(MessageKind::PING, 1, "");
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, CHANNEL_CLOSED);
}

// --- breaches: each must be one, must close the channel, and must leak no descriptor.

class Breach : public testing::Test {
 protected:
  void SetUp() override {
    ends_ = make_ends();
    before_ = open_descriptors();
  }
  void expect_breach(const char* what) {
    const auto got = ends_.supervisor.receive();
    ASSERT_FALSE(got) << what;
    EXPECT_EQ(got.error().code, CHANNEL_BREACH) << what << ": " << got.error().message;
    EXPECT_FALSE(ends_.supervisor.open()) << what;
    EXPECT_EQ(open_descriptors(), before_ - 1) << what << ": a descriptor leaked";  // the channel's own is closed
  }
  Ends ends_;
  int before_ = 0;
};

TEST_F(Breach, packet_shorter_than_a_header) {
  ASSERT_EQ(::send(ends_.role.fd(), "short", 5, 0), 5);
  expect_breach("short");
}

TEST_F(Breach, wrong_magic) {
  send_raw(ends_.role.fd(), {.magic = 1}, "");
  expect_breach("magic");
}

TEST_F(Breach, unknown_flag) {
  send_raw(ends_.role.fd(), {.flags = 8}, "");
  expect_breach("flag");
}

TEST_F(Breach, unknown_kind) {
  send_raw(ends_.role.fd(), {.kind = 999}, "");
  expect_breach("kind");
}

TEST_F(Breach, kind_of_the_other_direction) {
  send_raw(ends_.role.fd(), {.kind = static_cast<uint16_t>(MessageKind::CONFIG)}, "");
  expect_breach("direction");
}

TEST_F(Breach, size_that_is_not_the_size) {
  send_raw(ends_.role.fd(), {.payload_bytes = 100}, "ten bytes!");
  expect_breach("size");
}

TEST_F(Breach, payload_larger_than_allowed) {
  send_raw(ends_.role.fd(), {.payload_bytes = 0xffffffff}, "");
  expect_breach("large");
}

TEST_F(Breach, packet_larger_than_allowed) {
  const std::string packet(CHANNEL_INLINE_MAX + 100, 'x');
  ASSERT_GT(::send(ends_.role.fd(), packet.data(), packet.size(), 0), 0);
  expect_breach("packet");
}

TEST_F(Breach, descriptors_for_the_supervisor) {
  send_raw(ends_.role.fd(), {}, "", {0, 1});
  expect_breach("descriptors");
}

TEST_F(Breach, memfd_flag_without_memfd) {
  send_raw(ends_.role.fd(), {.flags = 1, .payload_bytes = 10}, "");
  expect_breach("no memfd");
}

TEST_F(Breach, payload_in_something_that_is_no_memfd) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);  // reading it would block for ever
  send_raw(ends_.role.fd(), {.flags = 1, .payload_bytes = 10}, "", {ends[0]});
  ::close(ends[0]);
  ::close(ends[1]);
  expect_breach("pipe");
}

TEST_F(Breach, memfd_that_its_sender_could_still_change) {
  {
    const UniqueFd fd = memfd_of("text", ALL_SEALS & ~F_SEAL_WRITE & ~F_SEAL_SEAL);
    send_raw(ends_.role.fd(), {.flags = 1, .payload_bytes = 4}, "", {fd.get()});
  }
  expect_breach("unsealed");
}

TEST_F(Breach, memfd_of_another_size) {
  {
    const UniqueFd fd = memfd_of("text", ALL_SEALS);
    send_raw(ends_.role.fd(), {.flags = 1, .payload_bytes = 5}, "", {fd.get()});
  }
  expect_breach("memfd size");
}

TEST_F(Breach, unending_message_of_empty_parts) {
  send_raw(ends_.role.fd(), {.flags = 2}, "");
  expect_breach("empty part");
}

TEST(Channel, a_message_broken_off_by_another_is_a_breach_for_a_role) {
  Ends ends = make_ends();
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  send_raw(ends.supervisor.fd(), {.kind = static_cast<uint16_t>(MessageKind::HELLO), .flags = 2}, "", {null.get()});
  send_raw(ends.supervisor.fd(), {.kind = static_cast<uint16_t>(MessageKind::PING)}, "");
  const auto got = ends.role.receive();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, CHANNEL_BREACH);
}

TEST(MessageKindName, is_the_name_of_the_table) {
  EXPECT_EQ(message_kind_name(MessageKind::CONFIG_OK), "CONFIG_OK");
  EXPECT_EQ(message_kind_name(static_cast<MessageKind>(999)), "?");
}

}  // namespace
}  // namespace penstock
