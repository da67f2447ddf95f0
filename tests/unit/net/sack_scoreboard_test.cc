#include "src/net/sack_scoreboard.h"

#include "src/base/prng.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

constexpr SeqNum UNA = {0xffff'ff00};  // so that everything crosses zero
constexpr uint32_t SEGMENT = 100;

SackBlock block(uint32_t left, uint32_t right) { return {(UNA + left).value, (UNA + right).value}; }

std::string ranges(const SackScoreboard& board) {
  std::string text;
  for (const SeqRange& range : board.ranges()) {
    text += (text.empty() ? "" : " ") + std::to_string(range.begin - UNA) + "-" + std::to_string(range.end - UNA);
  }
  return text;
}

class Sack : public testing::Test {
 protected:
  uint32_t take(std::vector<SackBlock> blocks) { return board.update(UNA, UNA + 2'000, blocks); }
  SackScoreboard board;
};

TEST_F(Sack, rfc2018_blocks_are_kept_in_order_and_merged) {
  EXPECT_EQ(take({block(500, 600)}), 100U);
  EXPECT_EQ(take({block(200, 300), block(500, 600)}), 100U);
  EXPECT_EQ(ranges(board), "200-300 500-600");
  EXPECT_EQ(take({block(300, 400)}), 100U);
  EXPECT_EQ(ranges(board), "200-400 500-600");
  EXPECT_EQ(take({block(350, 700)}), 200U);
  EXPECT_EQ(ranges(board), "200-700");
}

TEST_F(Sack, rfc2883_and_lies_are_no_news) {
  EXPECT_EQ(take({block(0, 100)}), 0U);  // begins at SND.UNA: cannot be
  EXPECT_EQ(board.update(UNA, UNA + 2'000, std::vector<SackBlock>{{(UNA - 100).value, (UNA - 50).value}}), 0U);
  EXPECT_EQ(take({block(300, 200)}), 0U);      // turned round
  EXPECT_EQ(take({block(1'900, 2'001)}), 0U);  // never sent
  EXPECT_EQ(take({block(100, 0x8000'0100)}), 0U);
  EXPECT_TRUE(board.empty());
}

TEST_F(Sack, forgets_what_is_acknowledged) {
  take({block(200, 400), block(500, 600)});
  board.advance(UNA + 300);
  EXPECT_EQ(ranges(board), "300-400 500-600");
  board.advance(UNA + 600);
  EXPECT_TRUE(board.empty());
}

TEST_F(Sack, at_the_limit_the_highest_is_forgotten) {
  for (uint32_t i = 0; i < SackScoreboard::RANGES_MAX; ++i) EXPECT_EQ(take({block(20 + i * 20, 30 + i * 20)}), 10U);
  EXPECT_EQ(take({block(1'900, 1'910)}), 0U);
  EXPECT_EQ(take({block(5, 10)}), 5U);
  EXPECT_EQ(board.ranges().size(), SackScoreboard::RANGES_MAX);
  EXPECT_EQ(board.highest(), UNA + 30 + (SackScoreboard::RANGES_MAX - 2) * 20);
}

TEST_F(Sack, rfc6675_is_lost_by_three_ranges_or_more_than_two_segments_above) {
  take({block(100, 200)});
  EXPECT_FALSE(board.is_lost(UNA, SEGMENT));
  take({block(200, 300)});
  EXPECT_FALSE(board.is_lost(UNA, SEGMENT));  // two segments: not more
  take({block(300, 301)});
  EXPECT_TRUE(board.is_lost(UNA, SEGMENT));
  EXPECT_FALSE(board.is_lost(UNA + 301, SEGMENT));
  board.clear();
  take({block(100, 101), block(110, 111), block(120, 121)});
  EXPECT_TRUE(board.is_lost(UNA, SEGMENT));
  EXPECT_FALSE(board.is_lost(UNA + 105, SEGMENT));
}

TEST_F(Sack, rfc6675_pipe_counts_what_is_not_lost_and_what_was_sent_again) {
  EXPECT_EQ(board.pipe(UNA, UNA + 1'000, UNA, SEGMENT), 1'000U);
  take({block(100, 600)});  // 0-100 is lost, 600-1000 is not
  EXPECT_EQ(board.pipe(UNA, UNA + 1'000, UNA, SEGMENT), 400U);
  EXPECT_EQ(board.pipe(UNA, UNA + 1'000, UNA + 100, SEGMENT), 500U);  // sent again
  take({block(700, 750)});                                            // 600-700 is not lost yet
  EXPECT_EQ(board.pipe(UNA, UNA + 1'000, UNA + 100, SEGMENT), 450U);
}

TEST_F(Sack, holes_in_order_and_none_above_the_highest) {
  take({block(100, 200), block(300, 400)});
  EXPECT_EQ(board.next_hole(UNA)->end, UNA + 100);
  EXPECT_EQ(board.next_hole(UNA + 50)->begin, UNA + 50);
  EXPECT_EQ(board.next_hole(UNA + 150)->begin, UNA + 200);
  EXPECT_EQ(board.next_hole(UNA + 150)->end, UNA + 300);
  EXPECT_FALSE(board.next_hole(UNA + 300).has_value());
  EXPECT_EQ(board.skip_received(UNA + 150), UNA + 200);
  EXPECT_EQ(board.skip_received(UNA + 200), UNA + 200);
}

// Against a map of bytes: whatever blocks come, what is known is their union.
TEST_F(Sack, is_a_set_of_bytes) {
  Prng prng(7);
  for (int round = 0; round < 300; ++round) {
    SackScoreboard random;
    std::vector<bool> bytes(500);
    size_t una = 0;
    for (int step = 0; step < 25; ++step) {
      const uint32_t left = prng.below(499);
      const uint32_t right = left + 1 + prng.below(std::min(60U, 500 - left));
      size_t fresh = 0;
      if (left > una) {
        for (uint32_t i = left; i < right; ++i) {
          fresh += !bytes[i];
          bytes[i] = true;
        }
      }
      const SackBlock one = block(left, right);
      ASSERT_EQ(random.update(UNA + static_cast<uint32_t>(una), UNA + 500, {&one, 1}), fresh);
      if (prng.one_in(5)) {
        una = std::min<size_t>(una + prng.below(30), 499);
        for (size_t i = 0; i < una; ++i) bytes[i] = false;
        random.advance(UNA + static_cast<uint32_t>(una));
      }
      std::vector<bool> known(500);
      for (const SeqRange& range : random.ranges()) {
        for (int32_t i = range.begin - UNA; i < range.end - UNA; ++i) known[static_cast<size_t>(i)] = true;
      }
      ASSERT_EQ(known, bytes);
    }
  }
}

}  // namespace
}  // namespace penstock
