// The finish ring against a model: what the reactor finished is what logd reads, in order, each once, with
// the drops it was told of, through wraps, crashes of either side and hostile memory.
#include "src/base/prng.h"
#include "tests/support/effort.h"
#include "tests/unit/log/journal_fixture.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

namespace penstock {
namespace {

using namespace log_test;

std::string random_target(Prng& prng) {
  const uint32_t size = prng.one_in(20) ? prng.below(9000) : prng.below(300);
  std::string target = "/";
  for (uint32_t i = 0; i < size; ++i) target += static_cast<char>('a' + prng.below(26));
  return target;
}

// A reactor and logd take random turns; each may die and be replaced at any of them.
void run_seed(uint64_t seed, uint64_t ring_bytes) {
  Prng prng(seed);
  Pair pair(64, ring_bytes);
  std::deque<std::string> expected;  // published, not yet acknowledged
  std::vector<std::string> unacknowledged;
  uint64_t acknowledged = 0;
  uint64_t finished = 0;
  uint64_t gaps = 0;
  for (int turn = 0; turn < 600; ++turn) {
    switch (prng.below(8)) {
      default: {  // a request from begin to end
        const std::string target = random_target(prng);
        const uint64_t dropped = pair.reactor_map.producer().dropped.load();
        pair.journal->end(begin_one(*pair.journal, target, {turn}), {turn}, ok_outcome());
        ++finished;
        if (pair.reactor_map.producer().dropped.load() == dropped) expected.push_back(target.substr(0, 8192));
        break;
      }
      case 5:  // logd reads some
        for (uint32_t n = prng.below(12); n > 0; --n) {
          const EndRecordView* record = pair.ring->next();
          if (record == nullptr) break;
          gaps += pair.ring->gap_before();
          ASSERT_LT(unacknowledged.size(), expected.size());
          ASSERT_EQ(record->text(Text::target), expected[unacknowledged.size()]);
          unacknowledged.emplace_back(record->text(Text::target));
        }
        break;
      case 6:  // logd has written what it read
        expected.erase(expected.begin(), expected.begin() + static_cast<int64_t>(unacknowledged.size()));
        acknowledged += unacknowledged.size();
        pair.ring->acknowledge(unacknowledged.size());
        unacknowledged.clear();
        break;
      case 7:
        if (prng.one_in(3)) {
          pair.restart_server();
        } else {
          if (!unacknowledged.empty()) gaps = UINT64_MAX;  // gaps are seen again; not summed in this seed
          unacknowledged.clear();
          pair.restart_logd();
        }
        break;
    }
  }
  while (const EndRecordView* record = pair.ring->next()) {
    if (gaps != UINT64_MAX) gaps += pair.ring->gap_before();
    ASSERT_EQ(record->text(Text::target), expected.at(unacknowledged.size()));
    unacknowledged.emplace_back(record->text(Text::target));
  }
  ASSERT_EQ(unacknowledged.size(), expected.size());
  pair.ring->acknowledge(unacknowledged.size());
  const uint64_t dropped = pair.reactor_map.producer().dropped.load();
  EXPECT_EQ(acknowledged + expected.size() + dropped, finished);
  EXPECT_EQ(pair.drain_map.ack().cursors[0].records.load() + dropped, finished);
  EXPECT_EQ(pair.ring->lost_bytes(), 0U);
  if (gaps != UINT64_MAX) {
    EXPECT_LE(gaps, dropped);  // drops behind the last record are not seen yet
  }
}

TEST(FinishRing, each_finished_record_is_read_once_in_order_through_wraps_and_crashes) {
  constexpr uint64_t SEEDS = one_threaded_rounds(300);
  for (uint64_t seed = 1; seed <= SEEDS; ++seed) {
    run_seed(seed, seed % 2 == 0 ? RING_BYTES_MIN : 4 * RING_BYTES_MIN);
    if (::testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

TEST(FinishRing, sequence_of_start_restores_the_order_of_arrival) {
  Pair pair(64, 1U << 20);
  Prng prng(11);
  std::vector<std::pair<JournalSlot, int>> open;
  int arrived = 0;
  std::vector<int> by_start(2000);
  uint64_t read = 0;
  const auto drain = [&] {
    while (const EndRecordView* record = pair.ring->next()) {
      EXPECT_EQ(record->head.seq_finish, read++);
      by_start.at(record->head.seq_start) = static_cast<int>(record->head.bytes_in);
    }
    pair.ring->acknowledge(0);
  };
  while (arrived < 2000 || !open.empty()) {
    if (arrived < 2000 && open.size() < 60 && !prng.one_in(3)) {
      open.emplace_back(begin_one(*pair.journal, "/", {arrived}), arrived);
      ++arrived;
    } else if (!open.empty()) {
      const size_t pick = prng.below(static_cast<uint32_t>(open.size()));
      Outcome outcome = ok_outcome();
      outcome.bytes_in = static_cast<uint64_t>(open[pick].second);
      pair.journal->end(open[pick].first, {arrived}, outcome);
      open.erase(open.begin() + static_cast<int64_t>(pick));
      drain();
    }
  }
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(by_start[static_cast<size_t>(i)], i);
}

TEST(FinishRing, garbage_in_the_ring_is_skipped_counted_and_reading_recovers) {
  Prng prng(3);
  for (int round = 0; round < 300; ++round) {
    Pair pair;
    for (int i = 0; i < 20; ++i) pair.journal->end(begin_one(*pair.journal, "/x", {1}), {2}, ok_outcome());
    // One spoiled 32-bit word anywhere in what is published.
    const uint64_t head = pair.reactor_map.producer().head.load();
    const uint32_t at = prng.below(static_cast<uint32_t>(head / 4)) * 4;
    const auto word = static_cast<uint32_t>(prng.one_in(2) ? prng.next() : prng.below(200));
    std::memcpy(pair.reactor_map.ring() + at, &word, 4);
    int read = 0;
    for (int steps = 0; pair.ring->waiting() >= RECORD_ALIGN; ++steps) {
      ASSERT_LT(steps, 100);
      if (pair.ring->next() != nullptr) ++read;
    }
    EXPECT_TRUE(read == 20 || pair.ring->lost_bytes() > 0 || word == 1U) << read;
    pair.ring->acknowledge(static_cast<uint64_t>(read));
    pair.journal->end(begin_one(*pair.journal, "/after", {1}), {2}, ok_outcome());
    const EndRecordView* record = pair.ring->next();
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->text(Text::target), "/after");
  }
}

TEST(FinishRing, an_impossible_head_is_survived) {
  Pair pair;
  for (const uint64_t head : {uint64_t{1}, uint64_t{63}, uint64_t{1} << 60, UINT64_MAX}) {
    pair.reactor_map.producer().head.store(head);
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(pair.ring->next(), nullptr);
      EXPECT_EQ(pair.ring->position() % RECORD_ALIGN, 0U);
    }
    pair.ring->acknowledge(0);
  }
}

TEST(FinishRing, an_open_intent_survives_its_writer_and_closes_with_the_tail) {
  Pair pair;
  for (int i = 0; i < 5; ++i) pair.journal->end(begin_one(*pair.journal, "/x", {1}), {2}, ok_outcome());
  EXPECT_FALSE(pair.ring->open_intent().has_value());
  for (int i = 0; i < 3; ++i) ASSERT_NE(pair.ring->next(), nullptr);
  const WriteIntent intent{
      .file_device = 1, .file_inode = 2, .file_offset = 3, .file_bytes = 4, .tail_after = pair.ring->position()};
  pair.ring->publish_intent(intent);
  pair.restart_logd();
  const std::optional<WriteIntent> found = pair.ring->open_intent();
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->file_inode, 2U);
  EXPECT_EQ(found->tail_after, intent.tail_after);
  pair.ring->accept_intent(*found);
  EXPECT_FALSE(pair.ring->open_intent().has_value());
  EXPECT_EQ(pair.drain_map.ack().cursors[0].records.load(), 3U);
  int rest = 0;
  while (pair.ring->next() != nullptr) ++rest;
  EXPECT_EQ(rest, 2);
}

}  // namespace
}  // namespace penstock
