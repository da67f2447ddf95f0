// AdaptiveSpin: how often an idle worker looks again before it sleeps. Pure; one thread.
//
// To look again is cheaper than to sleep and be woken where the server has a core of its own and the next request comes
// soon; where both share a core it keeps the server from running. So it is tried as long as it pays: the budget of
// looks doubles each time that one of them found something, is halved each time that all were in vain, and ends at
// none. Then every PROBE_EVERY-th sleep tries it again. A worker with nothing to do sleeps after LOOKS_MAX looks.
#pragma once

#include <algorithm>
#include <cstdint>

namespace penstock {

class AdaptiveSpin {
 public:
  static constexpr uint32_t LOOKS_MAX = 2'000;  // some ten microseconds
  static constexpr uint32_t LOOKS_MIN = 50;
  static constexpr uint32_t PROBE_EVERY = 64;

  // There was something to do.
  void worked() {
    if (looks_ > 0) budget_ = std::min(std::max(budget_, LOOKS_MIN) * 2, LOOKS_MAX);  // it paid
    looks_ = 0;
  }
  // There is nothing to do. True: look again; false: sleep.
  [[nodiscard]] bool again() {
    if (looks_ < allowed()) {
      ++looks_;
      return true;
    }
    looks_ = 0;
    budget_ = budget_ / 2 < LOOKS_MIN ? 0 : budget_ / 2;
    ++sleeps_;
    return false;
  }

 private:
  [[nodiscard]] uint32_t allowed() const {
    if (budget_ > 0) return budget_;
    return sleeps_ % PROBE_EVERY == 0 ? LOOKS_MIN : 0;
  }
  uint32_t budget_ = LOOKS_MAX;
  uint32_t looks_ = 0;  // in a row, in vain
  uint32_t sleeps_ = 0;
};

}  // namespace penstock
