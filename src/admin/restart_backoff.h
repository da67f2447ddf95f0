// RestartBackoff: when a role that died may be started again. Pure: the time is a parameter.
//
// A process that had lived for a while is replaced at once. One that dies again and again soon after its start is
// replaced with a pause that doubles, so that a crash loop costs little and is seen; a life of STABLE ends the series.
#pragma once

#include "src/base/time.h"

#include <algorithm>
#include <cstdint>

namespace penstock {

class RestartBackoff {
 public:
  static constexpr Duration STABLE = seconds(10);  // a life this long is no part of a crash loop
  static constexpr Duration FIRST = milliseconds(100);
  static constexpr Duration LONGEST = seconds(5);

  // The process started at `started` has died at `now`: how long to wait before its replacement starts.
  [[nodiscard]] Duration died(MonoTime started, MonoTime now) {
    if (now - started >= STABLE) short_lives_ = 0;
    ++short_lives_;
    if (short_lives_ == 1) return {};  // the first death is answered at once
    const uint32_t doublings = std::min(short_lives_ - 2, 16U);
    return std::min(FIRST * (int64_t{1} << doublings), LONGEST);
  }

  // Deaths in a row of processes that lived shorter than STABLE.
  [[nodiscard]] uint32_t short_lives() const { return short_lives_; }
  [[nodiscard]] bool crash_loop() const { return short_lives_ >= 3; }

 private:
  uint32_t short_lives_ = 0;
};

}  // namespace penstock
