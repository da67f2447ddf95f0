// HTTP dates (RFC 9110 section 5.6.7) from and to unix seconds. Pure arithmetic on the proleptic
// Gregorian calendar: no clock, no locale, no time zone, no C library calendar. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace penstock {

// "Sun, 06 Nov 1994 08:49:37 GMT"
inline constexpr size_t HTTP_DATE_BYTES = 29;

// The seconds that have an IMF-fixdate: the years 0000 to 9999.
inline constexpr int64_t HTTP_DATE_MIN = -62167219200;
inline constexpr int64_t HTTP_DATE_MAX = 253402300799;

// Writes HTTP_DATE_BYTES at `out`, no NUL. Seconds outside the range are taken to its nearest end.
void write_http_date(int64_t unix_seconds, char* out);

// IMF-fixdate, and the obsolete RFC 850 and asctime forms; case-sensitive, every field in range, the day of
// the week right, a leap second read as the second before. `now` (unix seconds) settles the century of RFC 850's two
// digits: a year more than 50 in the future is in the past. Nothing if it is no such date.
[[nodiscard]] std::optional<int64_t> parse_http_date(std::string_view text, int64_t now);

}  // namespace penstock
