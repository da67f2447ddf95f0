#include "src/log/drain/log_time.h"

#include <algorithm>
#include <cstdlib>

namespace penstock {
namespace {

// `value` as `count` decimal digits at `out`, high digits cut.
char* put_digits(char* out, int64_t value, int count) {
  for (int i = count - 1; i >= 0; --i, value /= 10) out[i] = static_cast<char>('0' + value % 10);
  return out + count;
}

constexpr std::string_view MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec";
constexpr int64_t SECONDS_MAX = 253402300799;  // the end of year 9999: beyond, the texts would not fit

}  // namespace

CalendarTime calendar_time(int64_t unix_seconds, bool utc) {
  CalendarTime result;
  const auto seconds = static_cast<std::time_t>(std::clamp<int64_t>(unix_seconds, 0, SECONDS_MAX));
  if (utc) {
    ::gmtime_r(&seconds, &result.parts);
  } else {
    ::localtime_r(&seconds, &result.parts);
    result.offset_s = result.parts.tm_gmtoff;
  }
  return result;
}

void LogTime::make(int64_t unix_seconds) {
  second_ = unix_seconds;
  const CalendarTime calendar = calendar_time(unix_seconds, utc_);
  const std::tm& t = calendar.parts;
  char* out = put_digits(date_.data(), t.tm_year + 1900, 4);
  *out++ = '-';
  out = put_digits(out, t.tm_mon + 1, 2);
  *out++ = '-';
  put_digits(out, t.tm_mday, 2);

  out = put_digits(time_.data(), t.tm_hour, 2);
  *out++ = ':';
  out = put_digits(out, t.tm_min, 2);
  *out++ = ':';
  put_digits(out, t.tm_sec, 2);

  const char sign = calendar.offset_s < 0 ? '-' : '+';
  const int64_t minutes = std::abs(calendar.offset_s) / 60;
  if (utc_) {
    zone_[0] = 'Z';
    zone_size_ = 1;
  } else {
    zone_[0] = sign;
    put_digits(zone_.data() + 1, minutes / 60, 2);
    zone_[3] = ':';
    put_digits(zone_.data() + 4, minutes % 60, 2);
    zone_size_ = 6;
  }

  out = put_digits(ncsa_.data(), t.tm_mday, 2);
  *out++ = '/';
  out = std::copy_n(MONTHS.data() + 3 * t.tm_mon, 3, out);
  *out++ = '/';
  out = put_digits(out, t.tm_year + 1900, 4);
  *out++ = ':';
  out = std::copy(time_.begin(), time_.end(), out);
  *out++ = ' ';
  *out++ = sign;
  out = put_digits(out, minutes / 60, 2);
  put_digits(out, minutes % 60, 2);
}

std::string compact_time(int64_t unix_seconds, bool utc) {
  const std::tm t = calendar_time(unix_seconds, utc).parts;
  char text[15];
  char* out = put_digits(text, t.tm_year + 1900, 4);
  out = put_digits(out, t.tm_mon + 1, 2);
  out = put_digits(out, t.tm_mday, 2);
  *out++ = '-';
  out = put_digits(out, t.tm_hour, 2);
  out = put_digits(out, t.tm_min, 2);
  put_digits(out, t.tm_sec, 2);
  return {text, sizeof(text)};
}

}  // namespace penstock
