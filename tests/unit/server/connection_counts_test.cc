// QS1: limits of connections are exact, however many threads and processes count, and whoever of them is killed.
#include "src/server/connection_counts.h"

#include "src/server/connection_limiter.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace penstock {
namespace {

using Answer = ConnectionLimiter::Answer;

ConnectionCounts make_counts(uint32_t connections_max = 1024) {
  auto counts = ConnectionCounts::create(connections_max, 7);
  EXPECT_TRUE(counts) << counts.error().message;
  return std::move(*counts);
}

// As another process has it.
ConnectionCounts map_again(const ConnectionCounts& counts) {
  auto other = ConnectionCounts::map(UniqueFd(::fcntl(counts.fd().get(), F_DUPFD_CLOEXEC, 3)));
  EXPECT_TRUE(other) << other.error().message;
  return std::move(*other);
}

PeerAddress peer(uint8_t family, std::initializer_list<uint8_t> ip) {
  PeerAddress out;
  out.family = family;
  std::ranges::copy(ip, out.ip);
  return out;
}

PeerAddress client(uint32_t number) {
  return peer(AF_INET, {10, static_cast<uint8_t>(number >> 16), static_cast<uint8_t>(number >> 8),
                        static_cast<uint8_t>(number)});
}

TEST(ConnectionLimiter, counts_two_servers_together) {
  ConnectionCounts counts = make_counts();
  ConnectionCounts others = map_again(counts);
  ConnectionLimiter old_server(counts, 0);
  ConnectionLimiter new_server(others, 1);
  EXPECT_EQ(old_server.enter(client(1), 3, 2).answer, Answer::ADMITTED);
  EXPECT_EQ(new_server.enter(client(1), 3, 2).answer, Answer::ADMITTED);
  EXPECT_EQ(new_server.enter(client(1), 3, 2).answer, Answer::OVER_PER_CLIENT);
  EXPECT_EQ(old_server.enter(client(1), 3, 2).answer, Answer::OVER_PER_CLIENT);
  EXPECT_EQ(new_server.enter(client(2), 3, 2).answer, Answer::ADMITTED);
  EXPECT_EQ(old_server.enter(client(3), 3, 2).answer, Answer::OVER_TOTAL);
  EXPECT_EQ(old_server.enter(client(3), 3, 0).answer, Answer::OVER_TOTAL);
  old_server.leave(client(1), true);
  EXPECT_EQ(new_server.enter(client(1), 3, 2).answer, Answer::ADMITTED);
  EXPECT_EQ(counts.open(), 3U);
}

TEST(ConnectionLimiter, counts_who_is_there_when_a_limit_of_clients_comes) {
  ConnectionCounts counts = make_counts();
  ConnectionLimiter server(counts, 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(server.enter(client(1), 10, 0).counted_per_client);
    EXPECT_TRUE(server.count_by_client(client(1)));
  }
  EXPECT_EQ(server.enter(client(1), 10, 3).answer, Answer::ADMITTED);
  EXPECT_EQ(server.enter(client(1), 10, 3).answer, Answer::OVER_PER_CLIENT);
  EXPECT_EQ(counts.open(), 3U) << "each once";
  server.leave(client(1), true);
  EXPECT_EQ(server.enter(client(1), 10, 3).answer, Answer::ADMITTED);
  EXPECT_FALSE(server.count_by_client(peer(AF_UNIX, {})));
}

TEST(ConnectionLimiter, forgets_a_server_that_was_killed_and_only_it) {
  ConnectionCounts counts = make_counts();
  ConnectionLimiter killed(counts, 0);
  ConnectionLimiter alive(counts, 1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(killed.enter(client(1), 9, 4).answer, Answer::ADMITTED);
  EXPECT_EQ(alive.enter(client(1), 9, 4).answer, Answer::ADMITTED);
  EXPECT_EQ(alive.enter(client(1), 9, 4).answer, Answer::OVER_PER_CLIENT);
  counts.forget(0);
  EXPECT_EQ(counts.open(), 1U);
  ConnectionLimiter next(counts, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(next.enter(client(1), 9, 4).answer, Answer::ADMITTED);
  EXPECT_EQ(next.enter(client(1), 9, 4).answer, Answer::OVER_PER_CLIENT);
  alive.leave(client(1), true);
  for (int i = 0; i < 3; ++i) next.leave(client(1), true);
  EXPECT_EQ(counts.open(), 0U);
  EXPECT_EQ(alive.enter(client(1), 1, 1).answer, Answer::ADMITTED);
}

TEST(ConnectionLimiter, counts_ipv6_clients_by_their_64_bits_and_unix_sockets_in_the_total_alone) {
  ConnectionCounts counts = make_counts();
  ConnectionLimiter limiter(counts, 0);
  const auto v6 = [](uint8_t network, uint8_t host) {
    return peer(AF_INET6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host});
  };
  EXPECT_EQ(limiter.enter(v6(1, 1), 9, 1).answer, Answer::ADMITTED);
  EXPECT_EQ(limiter.enter(v6(1, 2), 9, 1).answer, Answer::OVER_PER_CLIENT);
  EXPECT_EQ(limiter.enter(v6(2, 1), 9, 1).answer, Answer::ADMITTED);
  for (int i = 0; i < 3; ++i) {
    const auto admission = limiter.enter(peer(AF_UNIX, {}), 9, 1);
    EXPECT_EQ(admission.answer, Answer::ADMITTED);
    EXPECT_FALSE(admission.counted_per_client);
  }
  EXPECT_EQ(counts.open(), 5U);
}

// As many clients as there may be connections, in a table of the least size; each is counted by itself, and its place
// is given back.
TEST(ConnectionLimiter, has_room_for_as_many_clients_as_there_are_connections) {
  constexpr uint32_t CLIENTS = 2000;  // two servers with 1,000 each
  ConnectionCounts counts = make_counts(CLIENTS / 2);
  std::array<ConnectionLimiter, 2> servers{ConnectionLimiter(counts, 0), ConnectionLimiter(counts, 1)};
  for (uint32_t round = 0; round < 3; ++round) {
    for (uint32_t i = 0; i < CLIENTS; ++i) {
      ASSERT_EQ(servers[i % 2].enter(client(round * CLIENTS + i), CLIENTS, 1).answer, Answer::ADMITTED) << i;
    }
    for (uint32_t i = 0; i < CLIENTS; ++i) {
      ASSERT_EQ(servers[(i + 1) % 2].enter(client(round * CLIENTS + i), CLIENTS + 1, 1).answer,
                Answer::OVER_PER_CLIENT);
    }
    EXPECT_EQ(servers[0].enter(client(9'999'999), CLIENTS, 1).answer, Answer::OVER_TOTAL);
    for (uint32_t i = 0; i < CLIENTS; ++i) servers[i % 2].leave(client(round * CLIENTS + i), true);
    EXPECT_EQ(counts.open(), 0U);
  }
}

// Eight openers, each in one of two servers, never see more than the limit, and never fewer at its end.
TEST(ConnectionLimiter, is_exact_under_eight_parallel_openers) {
  constexpr uint32_t TOTAL = 100;
  constexpr uint32_t PER_CLIENT = 40;
  ConnectionCounts counts = make_counts();
  ConnectionCounts others = map_again(counts);
  std::array<uint32_t, 8> admitted{};
  std::vector<std::thread> openers;
  for (uint32_t n = 0; n < 8; ++n) {
    openers.emplace_back([&, n] {
      ConnectionLimiter limiter(n % 2 == 0 ? counts : others, n % 2);
      const PeerAddress me = client(n / 4);
      for (int i = 0; i < 200; ++i) {  // come and go below the limit, then stay
        if (limiter.enter(me, TOTAL, PER_CLIENT).answer == Answer::ADMITTED) limiter.leave(me, true);
      }
      for (uint32_t i = 0; i < TOTAL; ++i)
        admitted[n] += limiter.enter(me, TOTAL, PER_CLIENT).answer == Answer::ADMITTED;
    });
  }
  for (std::thread& opener : openers) opener.join();
  uint32_t first = 0;
  uint32_t second = 0;
  for (uint32_t n = 0; n < 8; ++n) (n < 4 ? first : second) += admitted[n];
  EXPECT_EQ(first, PER_CLIENT);
  EXPECT_EQ(second, PER_CLIENT);
  EXPECT_EQ(counts.open(), 2 * PER_CLIENT);
}

// Killed at any moment, also with a shard in its hands.
TEST(ConnectionLimiter, goes_on_behind_a_server_that_is_killed_while_it_counts) {
  ConnectionCounts counts = make_counts();
  ConnectionLimiter alive(counts, 0);
  for (int round = 0; round < 20; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ConnectionLimiter limiter(counts, 1);
      for (uint32_t i = 0;; i = (i + 1) % 64) {
        if (limiter.enter(client(i), 1000, 8).answer == Answer::ADMITTED && i % 3 == 0) limiter.leave(client(i), true);
        if (i == 63 && ::write(ends[1], "x", 1) != 1) ::_exit(1);
      }
    }
    char at_work = 0;
    ASSERT_EQ(::read(ends[0], &at_work, 1), 1);
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    ::close(ends[0]);
    ::close(ends[1]);
    counts.forget(1);
    ASSERT_EQ(counts.open(), 0U);
    for (uint32_t i = 0; i < 64; ++i) {
      ASSERT_EQ(alive.enter(client(i), 64, 1).answer, Answer::ADMITTED) << i;
      ASSERT_EQ(alive.enter(client(i), 1000, 1).answer, Answer::OVER_PER_CLIENT) << i;
    }
    for (uint32_t i = 0; i < 64; ++i) alive.leave(client(i), true);
  }
}

TEST(ConnectionCounts, are_taken_from_none_but_their_maker) {
  EXPECT_FALSE(ConnectionCounts::map(UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC))));
  auto other = create_shared_memory("other", 1 << 16);
  ASSERT_TRUE(other);
  EXPECT_FALSE(ConnectionCounts::map(std::move(*other)));
  EXPECT_FALSE(ConnectionCounts::map(UniqueFd()));
}

}  // namespace
}  // namespace penstock
