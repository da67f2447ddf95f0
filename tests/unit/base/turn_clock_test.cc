// The time within a turn, by a counter whose rate is measured.
#include "src/base/clock.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

// A counter of three ticks a nanosecond, with an error that the clock knows of.
constexpr uint64_t TICKS = UINT64_MAX - 1'000;  // it wraps
uint64_t ticks_at(MonoTime time) { return TICKS + static_cast<uint64_t>(time.ns) * 3; }

TEST(TurnClock, is_the_turns_time_until_the_rate_is_known) {
  TurnClock clock;
  const MonoTime start{seconds(5).ns};
  clock.turn(start, ticks_at(start));
  EXPECT_EQ(clock.at(ticks_at(start + microseconds(7))), start);
  const MonoTime soon = start + milliseconds(50);
  clock.turn(soon, ticks_at(soon));
  EXPECT_EQ(clock.at(ticks_at(soon + microseconds(7))), soon);
}

TEST(TurnClock, follows_the_counter_from_the_turns_time_on) {
  TurnClock clock;
  MonoTime now{seconds(5).ns};
  for (int i = 0; i < 100; ++i, now = now + milliseconds(30)) clock.turn(now, ticks_at(now));
  clock.turn(now, ticks_at(now));
  for (const int64_t ns : {0, 1, 999, 1'000'000, 900'000'000}) {
    const MonoTime told = clock.at(ticks_at(now + nanoseconds(ns)));
    EXPECT_LE(told, now + nanoseconds(ns));
    EXPECT_GE(told, now + nanoseconds(ns - 1 - ns / 1'000'000)) << ns;
  }
  EXPECT_EQ(clock.at(ticks_at(now + seconds(2))), now);  // no turn lasts that long: the counter has jumped
  EXPECT_EQ(clock.at(ticks_at(now) - 1), now);           // or went back
}

TEST(TurnClock, a_counter_that_rests_or_jumps_gives_the_turns_time) {
  TurnClock resting;
  TurnClock jumping;
  MonoTime now{seconds(5).ns};
  for (uint64_t i = 0; i < 20; ++i, now = now + milliseconds(60)) {
    resting.turn(now, 7);
    jumping.turn(now, i << 60);
    EXPECT_EQ(resting.at(7), now);
    EXPECT_EQ(jumping.at((i << 60) + 5'000), now);
  }
}

}  // namespace
}  // namespace penstock
