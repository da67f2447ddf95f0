#include "cache/fill.h"

#include <gtest/gtest.h>

namespace penstock::cache_test {
namespace {

FillKey wanted(std::string_view target, uint64_t purge_mark = 0) {
  const KeyView key{.secure = false, .host = "h", .target = target};
  return {.key = key, .hash = hash_key(key, 1), .generation = 1, .purge_mark = purge_mark};
}

FillWaiter waiter(uint32_t n) { return {.reactor = n % 4, .handle = {n, 1}}; }

// FEATURES SC9.
TEST(FillTable, a_thousand_misses_of_one_key_make_one_fill) {
  FillTable fills(8, 2000);
  const FillTable::Joined lead = fills.join(wanted("/a"), waiter(0));
  ASSERT_EQ(lead.role, FillRole::LEAD);
  for (uint32_t i = 1; i < 1000; ++i) {
    const FillTable::Joined joined = fills.join(wanted("/a"), waiter(i));
    ASSERT_EQ(joined.role, FillRole::WAIT);
    ASSERT_EQ(joined.fill, lead.fill);
  }
  std::vector<FillWaiter> woken;
  fills.complete(lead.fill, woken);
  ASSERT_EQ(woken.size(), 999u);
  for (uint32_t i = 1; i < 1000; ++i) {
    EXPECT_EQ(woken[i - 1].handle.index, i);  // in the order they came
    EXPECT_EQ(woken[i - 1].reactor, i % 4);
  }
  EXPECT_EQ(fills.fills(), 0u);
  EXPECT_EQ(fills.waiters(), 0u);
  EXPECT_EQ(fills.join(wanted("/a"), waiter(5)).role, FillRole::LEAD) << "the next miss leads again";
}

TEST(FillTable, other_keys_configurations_and_purges_are_other_fills) {
  FillTable fills(8, 8);
  ASSERT_EQ(fills.join(wanted("/a"), waiter(0)).role, FillRole::LEAD);
  EXPECT_EQ(fills.join(wanted("/b"), waiter(1)).role, FillRole::LEAD);
  EXPECT_EQ(fills.join(wanted("/a", 1), waiter(2)).role, FillRole::LEAD) << "it came after a purge";
  FillKey newer = wanted("/a");
  newer.generation = 2;
  EXPECT_EQ(fills.join(newer, waiter(3)).role, FillRole::LEAD);
  FillKey colliding = wanted("/c");
  colliding.hash = wanted("/a").hash;
  EXPECT_EQ(fills.join(colliding, waiter(4)).role, FillRole::LEAD) << "an equal hash is not an equal key";
  EXPECT_EQ(fills.join(wanted("/a"), waiter(5)).role, FillRole::WAIT);
}

TEST(FillTable, is_full_at_its_bounds_and_recovers) {
  FillTable fills(2, 1);
  const Handle a = fills.join(wanted("/a"), waiter(0)).fill;
  ASSERT_EQ(fills.join(wanted("/b"), waiter(1)).role, FillRole::LEAD);
  EXPECT_EQ(fills.join(wanted("/c"), waiter(2)).role, FillRole::FULL);
  EXPECT_EQ(fills.join(wanted("/a"), waiter(3)).role, FillRole::WAIT);
  EXPECT_EQ(fills.join(wanted("/a"), waiter(4)).role, FillRole::FULL);
  std::vector<FillWaiter> woken;
  fills.complete(a, woken);
  EXPECT_EQ(woken.size(), 1u);
  EXPECT_EQ(fills.join(wanted("/c"), waiter(5)).role, FillRole::LEAD);
  EXPECT_EQ(fills.join(wanted("/c"), waiter(6)).role, FillRole::WAIT);
}

TEST(FillTable, who_left_is_not_woken) {
  FillTable fills(2, 8);
  const Handle fill = fills.join(wanted("/a"), waiter(0)).fill;
  for (uint32_t i = 1; i <= 3; ++i) (void)fills.join(wanted("/a"), waiter(i));
  EXPECT_TRUE(fills.leave(fill, waiter(3)));
  EXPECT_TRUE(fills.leave(fill, waiter(1)));
  EXPECT_FALSE(fills.leave(fill, waiter(1)));
  (void)fills.join(wanted("/a"), waiter(4));
  std::vector<FillWaiter> woken;
  fills.complete(fill, woken);
  ASSERT_EQ(woken.size(), 2u);
  EXPECT_EQ(woken[0].handle.index, 2u);
  EXPECT_EQ(woken[1].handle.index, 4u);
  EXPECT_FALSE(fills.leave(fill, waiter(2))) << "handed out already";
}

}  // namespace
}  // namespace penstock::cache_test
