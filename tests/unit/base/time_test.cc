#include "src/base/time.h"

#include <gtest/gtest.h>
#include <limits>

namespace penstock {
namespace {

TEST(WallTime, seconds_are_rounded_down_on_both_sides_of_1970_and_at_the_ends) {
  EXPECT_EQ(WallTime{0}.unix_seconds(), 0);
  EXPECT_EQ(WallTime{999'999'999}.unix_seconds(), 0);
  EXPECT_EQ(WallTime{1'000'000'000}.unix_seconds(), 1);
  EXPECT_EQ(WallTime{-1}.unix_seconds(), -1);
  EXPECT_EQ(WallTime{-1'000'000'000}.unix_seconds(), -1);
  EXPECT_EQ(WallTime{-1'000'000'001}.unix_seconds(), -2);
  EXPECT_EQ(WallTime{std::numeric_limits<int64_t>::max()}.unix_seconds(), 9'223'372'036);
  EXPECT_EQ(WallTime{std::numeric_limits<int64_t>::min()}.unix_seconds(), -9'223'372'037);
}

}  // namespace
}  // namespace penstock
