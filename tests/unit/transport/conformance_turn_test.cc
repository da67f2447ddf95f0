// One suite for every transport: wake sources, listeners, limits, turns and counters.
#include "src/base/prng.h"
#include "src/base/unique_fd.h"
#include "tests/unit/transport/conformance.h"

#include <algorithm>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thread>

namespace penstock::test {
namespace {

class TurnConformance : public Conformance {};

TEST_P(TurnConformance, every_write_to_a_wake_source_ends_a_wait_without_reading_it) {
  OPEN();
  world.add_wake(7);
  world.add_wake(8);
  ASSERT_EQ(server.turn(milliseconds(1)), 0U);
  for (int i = 0; i < 5; ++i) {
    server.wakes.clear();
    if (is_simulated(GetParam()) || is_engine(GetParam())) {
      world.wake(i % 2 == 0 ? 7 : 8);
      server.turn(seconds(20));
    } else {
      std::thread other([&] { world.wake(i % 2 == 0 ? 7 : 8); });
      // A wait may end early, or late for what the machine did meanwhile.
      for (int turns = 0; server.wakes.empty() && turns < 20; ++turns) server.turn(seconds(5));
      other.join();
    }
    ASSERT_EQ(server.wakes.size(), 1U);
    EXPECT_EQ(server.wakes[0], i % 2 == 0 ? 7U : 8U);
  }
}

TEST_P(TurnConformance, the_end_of_a_send_for_which_nobody_waits_is_told_all_the_same) {
  OPEN();
  const auto peer = connect();
  peer->write("?");
  ASSERT_TRUE(server.until([&] { return !server.conn(0).received.empty(); }));
  for (int i = 1; i <= 3; ++i) {
    const std::string text = pattern(i == 2 ? 200'000 : 5'000, 7);
    world.transport().no_hurry(server.conn(0).handle);
    server.send_text(server.conn(0), text);
    EXPECT_EQ(read(*peer, text.size()), text);
    ASSERT_TRUE(server.until([&] { return server.conn(0).sent == i; }));
  }
}

TEST_P(TurnConformance, listeners_come_and_go_while_connections_stay) {
  OPEN();
  server.echo = true;
  const auto on_first = connect();
  ASSERT_TRUE(world.listen(World::Family::IPV4, 2));
  const auto on_second = connect(2);
  EXPECT_EQ(server.conn(1).listener, 2U);
  world.unlisten(2);
  for (int i = 0; i < 3; ++i) server.turn(milliseconds(1));
  EXPECT_EQ(world.connect(2), nullptr);
  for (const auto& peer : {&on_first, &on_second}) {
    (*peer)->write("ping");
    EXPECT_EQ(read(**peer, 4), "ping");
  }
  const auto late = connect(1);
  late->write("ping");
  EXPECT_EQ(read(*late, 4), "ping");
  ASSERT_TRUE(world.listen(World::Family::IPV4, 2));
  const auto again = connect(2);
  EXPECT_EQ(server.conns().back()->listener, 2U);
}

TEST_P(TurnConformance, paused_accepting_leaves_connections_in_the_backlog) {
  OPEN();
  world.transport().pause_accept(true);
  server.turn(milliseconds(1));
  server.turn(milliseconds(1));
  const auto peer = world.connect();
  ASSERT_NE(peer, nullptr);
  for (int i = 0; i < 5; ++i) server.turn(milliseconds(1));
  EXPECT_EQ(server.conns().size(), 0U);
  world.transport().pause_accept(false);
  EXPECT_TRUE(server.until([&] { return server.conns().size() == 1; }));
}

TEST_P(TurnConformance, at_the_limit_accepting_pauses_until_a_slot_is_free) {
  OPEN({.connections_max = 4, .receive_buffers = 8});
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 4; ++i) peers.push_back(connect());
  for (int i = 0; i < 3; ++i) server.turn(milliseconds(1));
  for (int i = 0; i < 4; ++i) peers.push_back(world.connect());
  for (int i = 0; i < 5; ++i) server.turn(milliseconds(1));
  EXPECT_EQ(server.conns().size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    server.close(server.conn(i));
    EXPECT_TRUE(server.until([&] { return server.conns().size() >= 5 + i; }));
  }
  EXPECT_LE(world.transport().connection_count(), 4U);
}

TEST_P(TurnConformance, a_small_batch_leaves_the_rest_for_the_next_without_waiting) {
  OPEN();
  server.echo = true;
  server.events_max = 1;
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 10; ++i) {
    peers.push_back(world.connect());
    peers.back()->write("ping");
  }
  EXPECT_TRUE(server.until([&] {
    return server.conns().size() == 10 &&
           std::ranges::all_of(server.conns(), [](const auto& conn) { return conn->sent == 1; });
  }));
  for (const auto& peer : peers) EXPECT_EQ(read(*peer, 4), "ping");
}

TEST_P(TurnConformance, poll_without_events_comes_back_at_its_deadline) {
  OPEN();
  EXPECT_EQ(server.turn(milliseconds(2)), 0U);
  EXPECT_EQ(server.turn(milliseconds(0)), 0U);
  EXPECT_EQ(server.turn(milliseconds(-5)), 0U);
}

TEST_P(TurnConformance, counters_tell_what_was_done) {
  if (is_tls(GetParam())) GTEST_SKIP() << "the layer below counts ciphertext";
  OPEN();
  server.echo = true;
  const auto peer = connect();
  peer->write("12345678");
  EXPECT_EQ(read(*peer, 8), "12345678");
  ASSERT_TRUE(server.until([&] { return server.conn(0).sent == 1; }));
  const TransportCounters& counters = world.transport().counters();
  EXPECT_EQ(counters.accepts, 1U);
  EXPECT_GE(counters.receives, 1U);
  EXPECT_EQ(counters.bytes_received, 8U);
  EXPECT_GE(counters.sends, 1U);
  EXPECT_EQ(counters.bytes_sent, 8U);
  EXPECT_EQ(counters.bytes_copied, is_engine(GetParam()) ? 0U : 8U);
  EXPECT_GT(counters.polls, 0U);
  if (!is_simulated(GetParam())) {
    EXPECT_GT(counters.syscalls, 0U);
  }
}

// The point of the ring: however many connections have something to do, a turn is one system call.
TEST_P(TurnConformance, a_turn_over_io_uring_is_one_system_call) {
  if (GetParam() != Kind::URING) GTEST_SKIP();
  OPEN();
  server.echo = true;
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 50; ++i) peers.push_back(connect());
  const TransportCounters before = world.transport().counters();
  for (int round = 0; round < 10; ++round) {
    for (const auto& peer : peers) peer->write("request");
    for (const auto& peer : peers) EXPECT_EQ(read(*peer, 7), "request");
  }
  const TransportCounters& after = world.transport().counters();
  EXPECT_EQ(after.sends - before.sends, 500U);
  EXPECT_LE(after.syscalls - before.syscalls, after.polls - before.polls);
  EXPECT_LE((after.syscalls - before.syscalls) * 8, after.sends - before.sends) << "at most one enter per 8 requests";
}

TEST_P(TurnConformance, accepting_out_of_descriptors_backs_off_and_recovers) {
  if (GetParam() != Kind::EPOLL && GetParam() != Kind::URING_PLAIN) GTEST_SKIP() << "direct descriptors use none";
  OPEN();
  const auto first = connect();
  world.transport().pause_accept(true);
  for (int i = 0; i < 3; ++i) server.turn(milliseconds(1));
  const auto peer = world.connect();
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{.rlim_cur = 3, .rlim_max = limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  // io_uring looks at the limit when an accept is armed.
  world.transport().pause_accept(false);
  for (int i = 0; i < 5; ++i) server.turn(milliseconds(1));
  const uint64_t errors = world.transport().counters().accept_errors;
  for (int i = 0; i < 50; ++i) server.turn(milliseconds(0));
  EXPECT_EQ(world.transport().counters().accept_errors, errors) << "no retry before the back-off has passed";
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  world.advance(milliseconds(200));
  EXPECT_TRUE(server.until([&] { return server.conns().size() == 2; }));
  EXPECT_GE(errors, 1U);
}

INSTANTIATE_TEST_SUITE_P(Transports, TurnConformance, testing::ValuesIn(ALL_KINDS), conformance_name);

}  // namespace
}  // namespace penstock::test
