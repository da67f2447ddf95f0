// AdaptiveSpin: how often one end of a ring in shared memory looks again before it sleeps. Pure; one thread.
//
// To look again is cheaper than to sleep and be woken where the other end has a core of its own and answers soon; where
// both share a core it keeps the other from running. So it is tried as long as it pays: the budget of looks grows to
// twice what was needed each time that one of them found something, is halved each time that all were in vain, and ends
// at none. Then every PROBE_EVERY-th sleep tries it again, shortly, and every LONG_PROBE_EVERY-th for longer. An end
// with nothing to do sleeps after LOOKS_MAX looks.
#pragma once

#include <algorithm>
#include <cstdint>

namespace penstock {

class AdaptiveSpin {
 public:
  static constexpr uint32_t LOOKS_MAX = 2'000;  // some ten microseconds
  static constexpr uint32_t LOOKS_MIN = 50;
  static constexpr uint32_t LOOKS_PROBED = 1'000;
  static constexpr uint32_t PROBE_EVERY = 64;
  static constexpr uint32_t LONG_PROBE_EVERY = 1'024;

  // There was something to do.
  void worked() {
    if (looks_ > 0) budget_ = std::min(std::max({budget_, looks_, LOOKS_MIN}) * 2, LOOKS_MAX);  // it paid
    looks_ = 0;
  }
  // There is nothing to do. True: look again; false: sleep.
  [[nodiscard]] bool again() {
    if (looks_ < allowed()) {
      ++looks_;
      return true;
    }
    give_up();
    return false;
  }
  // Sleeps whatever is left of the budget.
  void give_up() {
    looks_ = 0;
    budget_ = budget_ / 2 < LOOKS_MIN ? 0 : budget_ / 2;
    ++sleeps_;
  }
  // Looks that again() has left until it says no.
  [[nodiscard]] uint32_t left() const { return allowed() - std::min(looks_, allowed()); }

 private:
  [[nodiscard]] uint32_t allowed() const {
    if (budget_ > 0) return budget_;
    if (sleeps_ % LONG_PROBE_EVERY == 0) return LOOKS_PROBED;
    return sleeps_ % PROBE_EVERY == 0 ? LOOKS_MIN : 0;
  }
  uint32_t budget_ = LOOKS_MAX;
  uint32_t looks_ = 0;  // in a row, in vain
  uint32_t sleeps_ = 0;
};

// Between two looks: tells the core that nothing is lost meanwhile.
inline void spin_once() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace penstock
