// The engine in the place of either peer of every recording in recordings/, in simulated time: what Linux said to Linux
// is taken whole, and what the RFCs ask for is answered.

#include "tests/net_sim/replay.h"

#include <algorithm>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

std::vector<std::string> recordings() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(RECORDINGS)) {
    if (file.path().extension() == ".pcap") names.push_back(file.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Recording recording(const std::string& name) { return read_recording(std::string(RECORDINGS) + "/" + name + ".pcap"); }

class Recordings : public testing::TestWithParam<std::string> {};

// The engine takes one side; it may send less than Linux did only in recordings whose bulk is its own.
void expect_replayed(const std::string& name, Side engine, const char* bulk) {
  const Recording recorded = recording(name);
  Replay replay(recorded, engine);
  replay.run();
  EXPECT_EQ(replay.faults(), "");
  if (!name.starts_with(bulk)) {
    EXPECT_EQ(replay.shortened(), 0U);
  }
}

TEST_P(Recordings, the_recorded_client_is_served) { expect_replayed(GetParam(), Side::SERVER, "download-"); }
TEST_P(Recordings, the_recorded_server_is_asked) { expect_replayed(GetParam(), Side::CLIENT, "upload-"); }

// What their names promise is in them, and the engine did what it is for.
struct Deeds {
  const char* name;
  Side engine;
  uint64_t NetCounters::*counter;
  uint64_t least;
  uint64_t most;
};

TEST(RecordingsAsNamed, losses_are_mended_by_what_they_are_there_for) {
  const Deeds deeds[] = {
      {"download-loss-sack", Side::SERVER, &NetCounters::recoveries, 1, 9},
      {"download-loss-sack-ipv6", Side::SERVER, &NetCounters::recoveries, 1, 9},
      {"download-loss-sack-ipv6", Side::SERVER, &NetCounters::timeouts, 0, 0},
      {"download-loss-no-sack", Side::SERVER, &NetCounters::recoveries, 1, 9},
      {"download-loss-bare", Side::SERVER, &NetCounters::recoveries, 1, 9},
      {"download-loss-sack", Side::CLIENT, &NetCounters::duplicate_acks_sent, 9, 99},
      {"upload-loss-sack", Side::SERVER, &NetCounters::duplicate_acks_sent, 3, 99},
      {"upload-reordered", Side::SERVER, &NetCounters::duplicate_acks_sent, 3, 99},
      {"window-stuck-reader", Side::SERVER, &NetCounters::window_probes, 2, 9},
      {"server-does-not-read", Side::CLIENT, &NetCounters::window_probes, 2, 9},
      {"curl-get", Side::SERVER, &NetCounters::segments_retransmitted, 0, 0},
      {"pipelined", Side::SERVER, &NetCounters::fast_path, 5, 99},
      {"tiny-mss", Side::SERVER, &NetCounters::frames_sent, 16, 99},
  };
  for (const Deeds& deed : deeds) {
    const Recording recorded = recording(deed.name);
    Replay replay(recorded, deed.engine);
    replay.run();
    EXPECT_GE(replay.counters().*deed.counter, deed.least) << deed.name;
    EXPECT_LE(replay.counters().*deed.counter, deed.most) << deed.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Peers, Recordings, testing::ValuesIn(recordings()), [](const auto& file) {
  std::string name = file.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace penstock
