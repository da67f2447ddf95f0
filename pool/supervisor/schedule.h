// Times of day at which something is due, seen by looking at the clock now and then. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

namespace penstock {

inline constexpr uint32_t MINUTES_A_DAY = 24 * 60;
inline constexpr uint32_t MINUTES_MISSED_MAX = 10;  // a longer gap is a clock that was set, not a look that was late

// Whether a minute of `schedule` has begun since the last look. Minutes count from midnight, local time; `before`:
// nothing at the first look, which finds nothing due.
[[nodiscard]] inline bool schedule_due(std::span<const uint32_t> schedule, std::optional<uint32_t> before,
                                       uint32_t now) {
  if (!before || *before == now) return false;
  const uint32_t passed = (now + MINUTES_A_DAY - *before) % MINUTES_A_DAY;
  const uint32_t counted = passed <= MINUTES_MISSED_MAX ? passed : 1;
  return std::any_of(schedule.begin(), schedule.end(),
                     [&](uint32_t at) { return (now + MINUTES_A_DAY - at) % MINUTES_A_DAY < counted; });
}

}  // namespace penstock
