#include "pool/supervisor/schedule.h"

#include <gtest/gtest.h>
#include <vector>

namespace penstock {
namespace {

const std::vector<uint32_t> MIDNIGHT_AND_HALF_PAST_FOUR = {0, 270};

bool due(std::optional<uint32_t> before, uint32_t now) {
  return schedule_due(MIDNIGHT_AND_HALF_PAST_FOUR, before, now);
}

TEST(Schedule, is_due_when_its_minute_begins_and_not_again_in_it) {
  EXPECT_FALSE(due(268, 269));
  EXPECT_TRUE(due(269, 270));
  EXPECT_FALSE(due(270, 270));
  EXPECT_FALSE(due(270, 271));
}

TEST(Schedule, first_look_finds_nothing_due) { EXPECT_FALSE(due(std::nullopt, 270)); }

TEST(Schedule, midnight_is_a_minute_like_any) {
  EXPECT_TRUE(due(1439, 0));
  EXPECT_TRUE(due(1438, 2));
  EXPECT_FALSE(due(1437, 1439));
}

TEST(Schedule, a_late_look_catches_up_and_a_clock_that_was_set_does_not) {
  EXPECT_TRUE(due(268, 275));
  EXPECT_FALSE(due(200, 300));
  EXPECT_TRUE(due(200, 270)) << "the minute that it was set to";
  EXPECT_FALSE(due(300, 200)) << "back";
}

}  // namespace
}  // namespace penstock
