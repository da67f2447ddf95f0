// What congestion control and loss recovery make of a wire: a table that is committed, so that a change in them shows
// as a diff.
//
// PENSTOCK_THROUGHPUT_WRITE=1 writes it anew (tests/net_sim/throughput.txt).

#include "tests/net_sim/net_world.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace penstock {
namespace {

constexpr uint64_t BYTES = 1'000'000;

// In kilobytes a second of simulated time: 10 ms there and back, 12.5 MB/s, one connection, from connect to the end.
int64_t throughput(CongestionKind congestion, uint32_t lose_one_in, uint32_t window) {
  LinkOptions link;
  link.delay = milliseconds(5);
  link.bytes_per_second = 12'500'000;
  link.queue_max = 100;
  link.faults.lose_one_in = lose_one_in;
  NetConfig client = NetWorld::config(0);
  NetConfig server = NetWorld::config(1);
  client.limits.receive_window_bytes = window;
  server.congestion = congestion;
  int64_t sum = 0;
  constexpr int64_t ROUNDS = 3;
  for (uint64_t seed = 1; seed <= ROUNDS; ++seed) {
    NetWorld world(seed, link, client, server);
    const MonoTime begin = world.now();
    world.open({}, {.send_bytes = BYTES, .chunk_max = 60'000, .unacknowledged_max = 2'000'000});
    EXPECT_TRUE(world.run(begin + seconds(3'000)));
    EXPECT_EQ(world.faults(false), "");
    EXPECT_EQ(world.outcome().exact, 1U);
    sum += static_cast<int64_t>(BYTES) * 1'000 / std::max<int64_t>(1, (world.now() - begin).us());
  }
  return sum / ROUNDS;
}

std::string table() {
  std::string text =
      "kB/s of one connection, 1 MB, 10 ms round trip, 12500 kB/s wire; made by tests/net_sim/throughput_test.cc\n\n";
  char line[120];
  std::snprintf(line, sizeof line, "%-6s %12s %10s %10s %10s\n", "", "lost", "16 KiB", "64 KiB", "256 KiB");
  text += line;
  for (const auto& [name, kind] : {std::pair{"cubic", CongestionKind::CUBIC}, {"reno", CongestionKind::RENO}}) {
    for (const uint32_t lose : {0U, 300U, 100U, 30U, 10U}) {
      const std::string lost = lose == 0 ? "none" : "1 in " + std::to_string(lose);
      std::snprintf(line, sizeof line, "%-6s %12s %10lld %10lld %10lld\n", name, lost.c_str(),
                    static_cast<long long>(throughput(kind, lose, 16 * 1'024)),
                    static_cast<long long>(throughput(kind, lose, 64 * 1'024)),
                    static_cast<long long>(throughput(kind, lose, 256 * 1'024)));
      text += line;
    }
  }
  return text;
}

TEST(Throughput, is_that_of_the_committed_table) {
  const std::string now = table();
  if (std::getenv("PENSTOCK_THROUGHPUT_WRITE") != nullptr) std::ofstream(THROUGHPUT_TABLE) << now;
  std::stringstream committed;
  committed << std::ifstream(THROUGHPUT_TABLE).rdbuf();
  EXPECT_EQ(now, committed.str()) << "if the change is meant: PENSTOCK_THROUGHPUT_WRITE=1";
}

}  // namespace
}  // namespace penstock
