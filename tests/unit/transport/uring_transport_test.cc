// What the io_uring transport is made of, beyond what every transport promises: its ring and its descriptors.
#include "src/transport/uring/uring_transport.h"

#include "tests/unit/transport/conformance.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <filesystem>
#include <liburing.h>
#include <netinet/in.h>
#include <optional>
#include <set>
#include <sys/socket.h>
#include <thread>

namespace penstock::test {
namespace {

// DESIGN: what moves connections and bytes; nothing that opens, writes or changes a file, or makes a socket.
constexpr std::array ITS_OWN = {IORING_OP_ACCEPT,       IORING_OP_RECV,    IORING_OP_SEND,       IORING_OP_SENDMSG,
                                IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE,   IORING_OP_SHUTDOWN,   IORING_OP_POLL_ADD,
                                IORING_OP_SPLICE,       IORING_OP_SEND_ZC, IORING_OP_SENDMSG_ZC, IORING_OP_URING_CMD};
constexpr uint8_t FIXED_FD_INSTALL = 54;  // of 6.8; liburing 2.3 does not know it

class UringTransportTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Transport>> opened = UringTransport::open({.connections_max = 64}, {});
    if (!opened) GTEST_SKIP() << opened.error().message;
    transport_ = std::move(*opened);
    std::array<TransportEvent, 8> events;
    (void)transport_->poll(MonoTime{}, MonoTime{}, events);  // this thread is the issuer
  }
  Ring& ring() { return static_cast<UringTransport&>(*transport_).ring(); }
  // The result of an entry that is its operation and flags alone.
  int32_t try_entry(uint8_t opcode, uint8_t flags) {
    io_uring_sqe* entry = ring().sqe();
    entry->opcode = opcode;
    entry->flags = flags;
    entry->fd = -1;
    EXPECT_EQ(ring().enter(1, seconds(10)), 0);
    EXPECT_EQ(ring().ready(), 1U);
    const int32_t result = ring().peek(0).res;
    ring().advance(ring().ready());
    return result;
  }
  std::unique_ptr<Transport> transport_;
};

TEST_F(UringTransportTest, its_ring_takes_the_operations_it_uses_and_no_other) {
  const std::set<uint8_t> own(ITS_OWN.begin(), ITS_OWN.end());
  int refused = 0;
  for (uint8_t opcode = 0; opcode < 64; ++opcode) {
    if (own.contains(opcode) || opcode == FIXED_FD_INSTALL || !ring().supports(opcode)) continue;
    EXPECT_EQ(try_entry(opcode, 0), -EACCES) << "opcode " << int{opcode};
    ++refused;
  }
  EXPECT_GT(refused, 30);  // openat, write, connect, socket, unlinkat, …
  for (const uint32_t flag : {IOSQE_IO_HARDLINK, IOSQE_IO_DRAIN, IOSQE_ASYNC}) {
    EXPECT_EQ(try_entry(IORING_OP_CLOSE, static_cast<uint8_t>(flag)), -EACCES) << "flag " << flag;
  }
  EXPECT_FALSE(ring().register_sparse_files(16)) << "nor may it be given anything new";
}

TEST_F(UringTransportTest, its_ring_has_one_issuer_and_defers_its_work) {
  if (!ring().supports(FIXED_FD_INSTALL)) GTEST_SKIP() << "the kernel is older than 6.8, and may be than 6.1";
  EXPECT_NE(ring().setup_flags() & IORING_SETUP_SINGLE_ISSUER, 0U);
  EXPECT_NE(ring().setup_flags() & IORING_SETUP_DEFER_TASKRUN, 0U);
}

size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

// A ring of its own, a server on it, and clients over the kernel's sockets.
class UringServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (world == nullptr) GTEST_SKIP() << "io_uring is refused on this machine";
    server_.emplace(*world);
  }
  Server& server() { return *server_; }
  void all_end() {
    EXPECT_TRUE(server().until([&] { return world->transport().connection_count() == 0; }));
  }
  // The one connection has brought something.
  [[nodiscard]] bool is_asked() {
    return server().until([&] { return server().conns().size() == 1 && !server().conn(0).received.empty(); });
  }

  const std::unique_ptr<World> world = World::make(Kind::URING, {.connections_max = 64, .receive_buffers = 64});

 private:
  std::optional<Server> server_;
};
class UringConnections : public UringServerTest {};
class UringWork : public UringServerTest {};
class UringSends : public UringServerTest {};

TEST_F(UringConnections, use_no_descriptor_of_the_process) {
  if (!static_cast<UringTransport&>(world->transport()).ring().supports(FIXED_FD_INSTALL)) GTEST_SKIP() << "before 6.8";
  server().echo = true;
  const size_t before = open_descriptors();
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 20; ++i) peers.push_back(world->connect());
  ASSERT_TRUE(server().until([&] { return server().conns().size() == peers.size(); }));
  EXPECT_EQ(open_descriptors() - before, peers.size()) << "the peers' own, and none of the server's";
  server().close_all();
  all_end();
}

TEST_F(UringConnections, are_accepted_and_read_without_a_new_entry_for_each) {
  server().echo = true;
  const auto peer = world->connect();
  const auto ask = [&] {
    peer->write("request");
    std::string got;
    ASSERT_TRUE(server().until([&] { return (got += peer->read(7 - got.size())).size() == 7; }));
  };
  for (int i = 0; i < 3; ++i) ask();  // the first receive may be a single one
  const uint64_t rearmed = world->transport().counters().receive_rearms;
  for (int i = 0; i < 50; ++i) ask();
  EXPECT_EQ(world->transport().counters().receive_rearms, rearmed);
  server().close_all();
  all_end();
}

// Who looks elsewhere before it sleeps sees in memory that something came, or that something is to be submitted.
TEST_F(UringWork, is_seen_without_a_system_call) {
  Transport& transport = world->transport();
  const auto peer = world->connect();
  peer->write("?");
  ASSERT_TRUE(is_asked());
  server().send_text(server().conn(0), "!");
  EXPECT_TRUE(transport.sees_work()) << "it is to be submitted";
  ASSERT_TRUE(server().until([&] { return server().conn(0).sent == 1 && !transport.sees_work(); }));
  std::array<TransportEvent, 8> events;
  const uint64_t calls = transport.counters().syscalls;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(transport.poll(MonoTime{}, MonoTime{}, events), 0U);
  EXPECT_FALSE(transport.sees_work());
  peer->write("?");
  while (!transport.sees_work()) std::this_thread::yield();
  EXPECT_EQ(transport.counters().syscalls, calls);
  EXPECT_TRUE(server().until([&] { return server().conn(0).received == "??"; }));
  server().close_all();
  all_end();
}

// A peer that asks again as soon as it has its answer: the end of the one comes with the bytes of the other.
TEST_F(UringSends, for_whose_end_nobody_waits_wake_nobody) {
  const auto peer = world->connect();
  peer->write("?");
  ASSERT_TRUE(is_asked());
  server().send_text(server().conn(0), "!");  // behind it the second receive is armed
  ASSERT_TRUE(server().until([&] { return server().conn(0).sent == 1 && !peer->read(1).empty(); }));
  constexpr int ROUNDS = 50;
  int together = 0;
  std::thread other([&peer] {
    for (int done = 0; done < ROUNDS;) {
      if (peer->read(1).empty()) {
        std::this_thread::yield();
        continue;
      }
      peer->write("?");
      ++done;
    }
  });
  for (int round = 0; round < ROUNDS; ++round) {
    Server::Conn& conn = server().conn(0);
    const size_t received = conn.received.size();
    const int sent = conn.sent;
    world->transport().no_hurry(conn.handle);
    server().send_text(conn, "!");
    server().turn();
    together += conn.sent > sent && conn.received.size() > received ? 1 : 0;
    EXPECT_TRUE(server().until([&] { return conn.sent > sent && conn.received.size() > received; }));
  }
  other.join();
  EXPECT_GT(together, 0);
  server().close_all();
  all_end();
}

TEST_F(UringSends, that_are_the_last_and_for_whose_end_nobody_waits_take_the_close_along) {
  const auto peer = world->connect();
  peer->write("?");
  ASSERT_TRUE(is_asked());
  const SendPart part = SendPart::memory("!", 1);
  world->transport().no_hurry(server().conn(0).handle);
  world->transport().send(server().conn(0).handle, {&part, 1}, true);
  std::string got;
  EXPECT_TRUE(server().until([&] {
    got += peer->read(2);
    return peer->end() != Peer::End::OPEN;
  }));
  EXPECT_EQ(got, "!");
  EXPECT_EQ(peer->end(), Peer::End::FIN) << "nobody has called close()";
  // The descriptor is free, and may be somebody else's: no word of its first owner may reach him.
  const auto next = world->connect();
  ASSERT_TRUE(server().until([&] { return server().conns().size() == 2; }));
  EXPECT_EQ(world->transport().bytes_held(server().conn(0).handle), 0U);
  server().reset(server().conn(0));
  next->write("?");
  EXPECT_TRUE(server().until([&] { return !server().conn(1).received.empty(); }));
  server().close_all();
  all_end();
}

TEST_F(UringSends, that_are_the_last_and_do_not_fit_are_closed_behind_when_they_are_out) {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const UniqueFd peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int small = 1;  // the least that there is
  ::setsockopt(listener.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  ::setsockopt(peer.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_TRUE(world->transport().add_listener(listener.get(), 9));
  ASSERT_EQ(::connect(peer.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  ASSERT_EQ(::send(peer.get(), "?", 1, 0), 1);
  ASSERT_TRUE(is_asked());
  Server::Conn& conn = server().conn(0);
  const std::string text = pattern(16'000, 1);
  const SendPart part = SendPart::memory(text.data(), text.size());
  world->transport().no_hurry(conn.handle);
  world->transport().send(conn.handle, {&part, 1}, true);
  for (int i = 0; i < 3; ++i) server().turn(milliseconds(1));
  EXPECT_EQ(conn.sent, 0);
  std::string got;
  std::array<char, 4'096> room;
  ssize_t came = -1;
  EXPECT_TRUE(server().until([&] {
    if (conn.sent == 1 && !conn.ended) server().close(conn);
    came = ::recv(peer.get(), room.data(), room.size(), MSG_DONTWAIT);
    if (came > 0) got.append(room.data(), static_cast<size_t>(came));
    return came == 0 || (came < 0 && errno != EAGAIN);
  }));
  EXPECT_EQ(came, 0);
  EXPECT_TRUE(got == text) << "after " << got.size();
  all_end();
}

}  // namespace
}  // namespace penstock::test
