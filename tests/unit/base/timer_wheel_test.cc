#include "src/base/timer_wheel.h"

#include "src/base/prng.h"

#include <gtest/gtest.h>
#include <map>
#include <vector>

namespace penstock {
namespace {

constexpr MonoTime START{1'000'000'007};

TEST(TimerWheel, never_fires_early_and_at_most_one_tick_late) {
  // A random walk of arms, re-arms, disarms and jumps, held against a plain ordered map.
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Prng prng(seed);
    TimerWheel wheel(START);
    std::vector<Timer> timers(64);
    std::map<Timer*, MonoTime> model;
    MonoTime now = START;
    for (int step = 0; step < 2000; ++step) {
      Timer& timer = timers[prng.below(64)];
      if (prng.one_in(4)) {
        wheel.disarm(timer);
        model.erase(&timer);
      } else {
        const int64_t range = int64_t{1} << prng.below(45);
        const MonoTime due = now + Duration{static_cast<int64_t>(prng.next() % static_cast<uint64_t>(range))};
        wheel.arm(timer, due);
        model[&timer] = due;
      }
      ASSERT_EQ(wheel.armed_count(), model.size());
      for (auto& [armed, due] : model) {
        ASSERT_TRUE(wheel.next_due() <= due + TimerWheel::TICK || wheel.next_due() <= now) << seed;
      }
      now = now + Duration{static_cast<int64_t>(prng.next() % (uint64_t{1} << prng.below(42)))};
      while (Timer* fired = wheel.expire(now)) {
        auto it = model.find(fired);
        ASSERT_NE(it, model.end()) << seed;
        ASSERT_LE(it->second, now) << "early, seed " << seed;
        model.erase(it);
      }
      for (auto& [armed, due] : model) ASSERT_GT(due + TimerWheel::TICK, now) << "late, seed " << seed;
    }
  }
}

TEST(TimerWheel, a_fired_timer_may_be_armed_again_at_once) {
  TimerWheel wheel(START);
  Timer timer;
  wheel.arm(timer, START + milliseconds(1));
  MonoTime now = START + milliseconds(4);
  ASSERT_EQ(wheel.expire(now), &timer);
  EXPECT_FALSE(timer.armed());
  wheel.arm(timer, now + seconds(3));
  EXPECT_EQ(wheel.expire(now + seconds(2)), nullptr);
  EXPECT_EQ(wheel.expire(now + seconds(4)), &timer);
  EXPECT_EQ(wheel.next_due(), MonoTime::never());
}

}  // namespace
}  // namespace penstock
