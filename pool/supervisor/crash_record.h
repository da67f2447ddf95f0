// CrashRecord: how often the workers of one pool have failed, and when the next may start. Pure: time is a parameter.
//
// Two answers to one history. A pause before the next start that doubles with each failure soon after a start, so that
// a crash loop costs little; and rapid-fail protection: too many failures within a window, and the pool is to be taken
// out of service.
#pragma once

#include "src/base/time.h"

#include <algorithm>
#include <cstdint>
#include <deque>

namespace penstock {

class CrashRecord {
 public:
  static constexpr Duration STABLE = seconds(10);  // who lived so long does not lengthen the pause
  static constexpr Duration FIRST_PAUSE = milliseconds(100);
  static constexpr Duration LONGEST_PAUSE = seconds(5);

  // A worker that started at `started` has failed at `now`: how long to wait before the next one starts.
  [[nodiscard]] Duration failed(MonoTime started, MonoTime now) {
    crashes_.push_back(now);
    if (crashes_.size() > KEPT) crashes_.pop_front();
    if (now - started >= STABLE) short_lives_ = 0;
    ++short_lives_;
    if (short_lives_ == 1) return {};
    const uint32_t doublings = std::min(short_lives_ - 2, 16U);
    return std::min(FIRST_PAUSE * (int64_t{1} << doublings), LONGEST_PAUSE);
  }

  // Failures in the last `window`, up to KEPT.
  [[nodiscard]] uint32_t recent(MonoTime now, Duration window) const {
    return static_cast<uint32_t>(
        std::count_if(crashes_.begin(), crashes_.end(), [&](MonoTime at) { return now - at < window; }));
  }

  void forget() {
    crashes_.clear();
    short_lives_ = 0;
  }

 private:
  static constexpr size_t KEPT = 10'000;  // the largest rapid_fail.crashes
  std::deque<MonoTime> crashes_;
  uint32_t short_lives_ = 0;
};

}  // namespace penstock
