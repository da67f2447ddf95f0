// Clock: the only place where time is read (a check in scripts/ enforces it).
//
// A reactor reads it once per turn and hands `now` down as a parameter; no lower floor asks again.
// The real clock is RealClock; tests and the simulator move a HandClock (tests/support).
#pragma once

#include "src/base/time.h"

#include <cstdint>

namespace penstock {

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual MonoTime now() = 0;   // CLOCK_MONOTONIC
  [[nodiscard]] virtual WallTime wall() = 0;  // CLOCK_REALTIME
  // A counter that grows evenly, of no unit: for TurnClock. One that never moves is allowed.
  [[nodiscard]] virtual uint64_t ticks() { return 0; }
};

// What has passed within a turn, at a third of the price of reading the clock: by a counter whose rate is measured
// against the clock from turn to turn, so that an error lasts for one turn. Until the rate is known, or should the
// counter not move or jump, it is the turn's time itself.
class TurnClock {
 public:
  // A turn begins: `now` and `ticks` were read together.
  void turn(MonoTime now, uint64_t ticks) {
    turn_ = now;
    ticks_ = ticks;
    if (now - rated_at_ >= RATE_PERIOD) rate(now, ticks);
  }
  // The time when the counter shows `ticks`. More than TURN_MAX from the turn's time on is not believed.
  [[nodiscard]] MonoTime at(uint64_t ticks) const {
    const uint64_t passed = ticks - ticks_;
    if (passed > passed_max_) return turn_;
    return turn_ + nanoseconds(static_cast<int64_t>(passed * ns_per_tick_ >> SHIFT));
  }

 private:
  static constexpr Duration RATE_PERIOD = milliseconds(100);
  static constexpr Duration TURN_MAX = seconds(1);
  static constexpr int SHIFT = 24;
  void rate(MonoTime now, uint64_t ticks);

  MonoTime turn_{};
  uint64_t ticks_ = 0;
  uint64_t passed_max_ = 0;   // ticks of TURN_MAX: their product fits into 64 bits
  uint64_t ns_per_tick_ = 0;  // times 2^SHIFT
  MonoTime rated_at_{};
  uint64_t rated_ticks_ = 0;
};

// clock_gettime(2) through the vDSO: no system call. Stateless, usable from every thread.
class RealClock final : public Clock {
 public:
  [[nodiscard]] MonoTime now() override;
  [[nodiscard]] WallTime wall() override;
  [[nodiscard]] uint64_t ticks() override;
};

}  // namespace penstock
