// TimerWheel: hashed hierarchical timing wheel (Varghese and Lauck, SOSP 1987), intrusive.
//
// One owner thread. A timer is a Timer embedded in the object it wakes; arm, re-arm and disarm are
// O(1) and allocate nothing. Resolution is one tick (4 ms): a timer never fires early and fires at
// most one tick late when expire() is called on time. Four levels of 256 slots cover 198 days; a
// timer armed beyond that horizon fires at the horizon, so give limits of months, not of years.
#pragma once

#include "src/base/time.h"

#include <array>
#include <cstdint>

namespace penstock {

struct Timer {
  Timer* prev = nullptr;  // nullptr while disarmed
  Timer* next = nullptr;
  int64_t due_tick = 0;
  [[nodiscard]] bool armed() const { return prev != nullptr; }
};

class TimerWheel {
 public:
  static constexpr Duration TICK = milliseconds(4);

  explicit TimerWheel(MonoTime start);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Files `timer` to fire at `due` (rounded up to a tick), whether or not it was armed before.
  void arm(Timer& timer, MonoTime due);
  void disarm(Timer& timer);

  // Moves to `now` and unlinks what is due, one timer a call: returns the next expired timer,
  // disarmed, or nullptr when none is left. A fired timer may be armed again at once.
  [[nodiscard]] Timer* expire(MonoTime now);

  // A time at which expire() is worth calling: never later than the first timer's due tick.
  [[nodiscard]] MonoTime next_due() const;
  [[nodiscard]] uint64_t armed_count() const { return armed_count_; }

 private:
  static constexpr int LEVELS = 4;
  static constexpr int SLOT_BITS = 8;
  static constexpr int SLOTS = 1 << SLOT_BITS;

  void file(Timer& timer);
  void cascade(int level);

  Timer expired_;                                       // circular list head
  std::array<std::array<Timer, SLOTS>, LEVELS> slots_;  // circular list heads
  std::array<std::array<uint64_t, SLOTS / 64>, LEVELS> occupied_{};
  MonoTime start_;
  int64_t tick_ = 0;  // every timer due at or before this tick is in expired_ or fired
  uint64_t armed_count_ = 0;
};

}  // namespace penstock
