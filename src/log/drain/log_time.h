// LogTime: calendar texts of a wall time for log lines, made once per second and kept.
#pragma once

#include "src/base/time.h"

#include <array>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

namespace penstock {

// The calendar date and time of day of `wall`, UTC or in the zone of the process (tzset() was called at start,
// before the sandbox closed the zone files), and the zone's offset from UTC.
struct CalendarTime {
  std::tm parts{};
  int64_t offset_s = 0;
};
[[nodiscard]] CalendarTime calendar_time(int64_t unix_seconds, bool utc);

class LogTime {
 public:
  explicit LogTime(bool utc) : utc_(utc) {}

  // Makes the texts of this second; false where it is the one made last, which is cheap.
  bool set(int64_t unix_seconds) {
    if (unix_seconds == second_) return false;
    make(unix_seconds);
    return true;
  }
  [[nodiscard]] std::string_view date() const { return {date_.data(), 10}; }          // 2026-11-22
  [[nodiscard]] std::string_view time() const { return {time_.data(), 8}; }           // 03:32:32
  [[nodiscard]] std::string_view zone() const { return {zone_.data(), zone_size_}; }  // Z or +01:00
  [[nodiscard]] std::string_view ncsa() const { return {ncsa_.data(), 26}; }          // 22/Nov/2026:03:32:32 +0000

 private:
  void make(int64_t unix_seconds);

  bool utc_;
  int64_t second_ = INT64_MIN;
  std::array<char, 10> date_{};
  std::array<char, 8> time_{};
  std::array<char, 6> zone_{};
  size_t zone_size_ = 0;
  std::array<char, 26> ncsa_{};
};

// "20261122-033232": for names of rotated files; sorts as it happened.
[[nodiscard]] std::string compact_time(int64_t unix_seconds, bool utc);

}  // namespace penstock
