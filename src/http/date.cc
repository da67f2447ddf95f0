// Days and civil dates after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years
// begin in March, so that the leap day is a year's last, in eras of 400 years.

#include "src/http/date.h"

#include "src/base/bytes.h"

#include <algorithm>
#include <array>

namespace penstock {
namespace {

constexpr std::array<std::string_view, 7> DAYS = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                  "Thursday", "Friday", "Saturday"};
constexpr std::string_view MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec";
constexpr int64_t DAY_SECONDS = 86400;

struct CivilDate {
  int64_t year;
  unsigned month;  // 1 to 12
  unsigned day;    // 1 to 31
};

constexpr int64_t days_from_civil(CivilDate date) {
  const int64_t year = date.month <= 2 ? date.year - 1 : date.year;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (date.month > 2 ? date.month - 3 : date.month + 9) + 2) / 5 + date.day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + static_cast<int64_t>(day_of_era) - 719468;
}

constexpr CivilDate civil_from_days(int64_t days) {
  days += 719468;
  const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const auto day_of_era = static_cast<unsigned>(days - era * 146097);
  const unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned shifted_month = (5 * day_of_year + 2) / 153;
  const unsigned day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
  const unsigned month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  return {static_cast<int64_t>(year_of_era) + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

// 0 is Sunday; 1970-01-01 was a Thursday.
constexpr size_t weekday_of(int64_t days) { return static_cast<size_t>((days % 7 + 7 + 4) % 7); }

static_assert(days_from_civil({1970, 1, 1}) == 0);
static_assert(days_from_civil({0, 1, 1}) * DAY_SECONDS == HTTP_DATE_MIN);
static_assert(days_from_civil({10000, 1, 1}) * DAY_SECONDS == HTTP_DATE_MAX + 1);

void write_two(char* out, unsigned value) {
  out[0] = static_cast<char>('0' + value / 10);
  out[1] = static_cast<char>('0' + value % 10);
}

// A reader of fixed fields; after the first mismatch `ok` stays false.
struct Reader {
  std::string_view text;
  bool ok = true;

  void expect(std::string_view literal) {
    ok = ok && text.starts_with(literal);
    if (ok) text.remove_prefix(literal.size());
  }

  // Exactly `digits` digits.
  unsigned number(size_t digits) {
    unsigned value = 0;
    for (size_t i = 0; i < digits; ++i) {
      ok = ok && i < text.size() && is_digit(text[i]);
      if (ok) value = value * 10 + static_cast<unsigned>(text[i] - '0');
    }
    if (ok) text.remove_prefix(digits);
    return value;
  }

  unsigned month() {
    const size_t at = text.size() >= 3 ? MONTHS.find(text.substr(0, 3)) : std::string_view::npos;
    ok = ok && at != std::string_view::npos && at % 3 == 0;
    if (!ok) return 0;
    text.remove_prefix(3);
    return static_cast<unsigned>(at / 3 + 1);
  }

  // The day of the week, by its whole name or by three letters.
  size_t weekday(bool whole) {
    for (size_t i = 0; ok && i < DAYS.size(); ++i) {
      const std::string_view name = whole ? DAYS[i] : DAYS[i].substr(0, 3);
      if (!text.starts_with(name)) continue;
      text.remove_prefix(name.size());
      return i;
    }
    ok = false;
    return 0;
  }

  // hh:mm:ss in seconds; a leap second is the second before it.
  int64_t time_of_day() {
    const unsigned hour = number(2);
    expect(":");
    const unsigned minute = number(2);
    expect(":");
    const unsigned second = number(2);
    ok = ok && hour <= 23 && minute <= 59 && (second <= 59 || (second == 60 && minute == 59 && hour == 23));
    return static_cast<int64_t>(hour) * 3600 + minute * 60 + std::min(second, 59U);
  }
};

constexpr bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

constexpr unsigned days_in_month(int64_t year, unsigned month) {
  if (month == 2) return is_leap(year) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

std::optional<int64_t> assemble(const Reader& reader, CivilDate date, size_t weekday, int64_t time_of_day) {
  if (!reader.ok || !reader.text.empty()) return std::nullopt;
  if (date.day < 1 || date.day > days_in_month(date.year, date.month)) return std::nullopt;
  const int64_t days = days_from_civil(date);
  if (weekday_of(days) != weekday) return std::nullopt;
  return days * DAY_SECONDS + time_of_day;
}

// "Sun, 06 Nov 1994 08:49:37 GMT"
std::optional<int64_t> parse_imf_fixdate(std::string_view text) {
  Reader reader{text};
  CivilDate date{};
  const size_t weekday = reader.weekday(false);
  reader.expect(", ");
  date.day = reader.number(2);
  reader.expect(" ");
  date.month = reader.month();
  reader.expect(" ");
  date.year = reader.number(4);
  reader.expect(" ");
  const int64_t time_of_day = reader.time_of_day();
  reader.expect(" GMT");
  return assemble(reader, date, weekday, time_of_day);
}

// "Sunday, 06-Nov-94 08:49:37 GMT"
std::optional<int64_t> parse_rfc850(std::string_view text, int64_t now) {
  Reader reader{text};
  CivilDate date{};
  const size_t weekday = reader.weekday(true);
  reader.expect(", ");
  date.day = reader.number(2);
  reader.expect("-");
  date.month = reader.month();
  reader.expect("-");
  const unsigned two_digits = reader.number(2);
  reader.expect(" ");
  const int64_t time_of_day = reader.time_of_day();
  reader.expect(" GMT");
  const int64_t this_year = civil_from_days(std::clamp(now, HTTP_DATE_MIN, HTTP_DATE_MAX) / DAY_SECONDS).year;
  date.year = this_year - this_year % 100 + two_digits;
  if (date.year > this_year + 50) date.year -= 100;
  if (date.year < 0) return std::nullopt;
  return assemble(reader, date, weekday, time_of_day);
}

// "Sun Nov  6 08:49:37 1994"
std::optional<int64_t> parse_asctime(std::string_view text) {
  Reader reader{text};
  CivilDate date{};
  const size_t weekday = reader.weekday(false);
  reader.expect(" ");
  date.month = reader.month();
  reader.expect(" ");
  if (reader.text.starts_with(' ')) {
    reader.expect(" ");
    date.day = reader.number(1);
  } else {
    date.day = reader.number(2);
  }
  reader.expect(" ");
  const int64_t time_of_day = reader.time_of_day();
  reader.expect(" ");
  date.year = reader.number(4);
  return assemble(reader, date, weekday, time_of_day);
}

}  // namespace

void write_http_date(int64_t unix_seconds, char* out) {
  unix_seconds = std::clamp(unix_seconds, HTTP_DATE_MIN, HTTP_DATE_MAX);
  const int64_t days = (unix_seconds >= 0 ? unix_seconds : unix_seconds - (DAY_SECONDS - 1)) / DAY_SECONDS;
  const auto second_of_day = static_cast<unsigned>(unix_seconds - days * DAY_SECONDS);
  const CivilDate date = civil_from_days(days);
  const auto year = static_cast<unsigned>(date.year);
  constexpr std::string_view PATTERN = "Sun, 06 Nov 1994 08:49:37 GMT";
  std::ranges::copy(PATTERN, out);
  std::ranges::copy(DAYS[weekday_of(days)].substr(0, 3), out);
  write_two(out + 5, date.day);
  std::ranges::copy(MONTHS.substr((date.month - 1) * 3, 3), out + 8);
  write_two(out + 12, year / 100);
  write_two(out + 14, year % 100);
  write_two(out + 17, second_of_day / 3600);
  write_two(out + 20, second_of_day / 60 % 60);
  write_two(out + 23, second_of_day % 60);
}

std::optional<int64_t> parse_http_date(std::string_view text, int64_t now) {
  if (text.size() == HTTP_DATE_BYTES && text[3] == ',') return parse_imf_fixdate(text);
  if (text.find(',') != std::string_view::npos) return parse_rfc850(text, now);
  return parse_asctime(text);
}

}  // namespace penstock
