// A request's moments and its place among all others, over many requests that overlap as they like.
// PENSTOCK_TEST_LONG: a million of them.
#include "src/base/prng.h"
#include "tests/unit/log/journal_fixture.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace penstock {
namespace {

using namespace log_test;

TEST(JournalOrder, moments_add_up_and_the_start_numbers_are_the_order_of_arrival) {
  const size_t many = std::getenv("PENSTOCK_TEST_LONG") != nullptr ? 1'000'000 : 100'000;
  Pair pair(64, uint64_t{1} << 20);
  Prng prng(7);
  struct Open {
    JournalSlot slot;
    uint64_t place;  // in the order of arrival, from 0
    std::vector<Stage> left;
  };
  std::vector<Open> open;
  std::vector<MonoTime> first_of(many);
  std::vector<uint64_t> start_of(many);
  MonoTime now{5'000};
  uint64_t begun = 0, ended = 0;
  const auto take = [&] {
    while (const EndRecordView* record = pair.ring->next()) {
      const EndRecord& head = record->head;
      const uint64_t place = head.bytes_in;  // carried there by the test
      ASSERT_LT(place, many);
      start_of[place] = head.seq_start;
      EXPECT_EQ(head.seq_finish, ended++);
      int64_t sum = 0, stamped = 1;
      for (size_t i = 1; i < head.moments.size(); ++i) {
        ASSERT_NE(head.moments[i], 0) << "moment " << i << " of " << place;
        ASSERT_GE(head.moments[i], head.moments[i - 1]);
        sum += (head.moments[i] - head.moments[i - 1]) / 1000;  // as a log of microseconds has them
        ++stamped;
      }
      ASSERT_GE(stamped, 8);
      const int64_t total = head.moments.back() - head.moments.front();
      // Each gap is cut to whole microseconds; the moments themselves add up exactly.
      ASSERT_NEAR(static_cast<double>(sum), static_cast<double>(total) / 1000.0, static_cast<double>(stamped));
      ASSERT_EQ(head.moments[static_cast<size_t>(Moment::FIRST_BYTE)], first_of[place].ns);
    }
    pair.ring->acknowledge(0);
  };
  while (ended < many) {
    now = now + nanoseconds(static_cast<int64_t>(prng.below(3'000)));
    if (begun < many && open.size() < 60 && (open.empty() || prng.one_in(3))) {
      first_of[begun] = now;
      open.push_back({
          begin_one(*pair.journal, "/", now),
          begun,
          {Stage::LOOKUP, Stage::DISPATCH, Stage::QUEUED, Stage::WORKER, Stage::DELIVER},
      });
      ASSERT_TRUE(open.back().slot.valid());
      ++begun;
      continue;
    }
    if (open.empty()) break;
    const size_t which = prng.below(static_cast<uint32_t>(open.size()));
    Open& at = open[which];
    if (!at.left.empty()) {
      pair.journal->stage(at.slot, at.left.front(), now);
      at.left.erase(at.left.begin());
      continue;
    }
    pair.journal->moment(at.slot, Moment::FIRST_BYTE_OUT, now);
    pair.journal->moment_again(at.slot, Moment::LAST_BYTE_OUT, now);
    Outcome outcome = ok_outcome();
    outcome.bytes_in = at.place;
    pair.journal->end(at.slot, now, outcome);
    std::swap(open[which], open.back());
    open.pop_back();
    take();
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(ended, many);
  for (size_t i = 1; i < many; ++i) ASSERT_LT(start_of[i - 1], start_of[i]) << "arrival " << i;
}

}  // namespace
}  // namespace penstock
