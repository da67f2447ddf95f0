#include "src/http/date.h"

#include "src/base/bytes.h"
#include "src/base/prng.h"
#include "tests/support/guard_page.h"

#include <ctime>
#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

constexpr int64_t IN_2023 = 1'700'000'000;  // in 2023

std::string written(int64_t seconds) {
  char out[HTTP_DATE_BYTES];
  write_http_date(seconds, out);
  return {out, sizeof out};
}

std::optional<int64_t> read(std::string_view text, int64_t now = IN_2023) {
  const GuardedText input(text);
  return parse_http_date(input.view(), now);
}

TEST(HttpDate, writes_imf_fixdate) {
  EXPECT_EQ(written(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(written(0), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(written(-1), "Wed, 31 Dec 1969 23:59:59 GMT");
  EXPECT_EQ(written(951782400), "Tue, 29 Feb 2000 00:00:00 GMT");
  EXPECT_EQ(written(HTTP_DATE_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
  EXPECT_EQ(written(HTTP_DATE_MIN), "Sat, 01 Jan 0000 00:00:00 GMT");
  EXPECT_EQ(written(INT64_MAX), written(HTTP_DATE_MAX));
  EXPECT_EQ(written(INT64_MIN), written(HTTP_DATE_MIN));
}

// The C library's calendar as the second opinion.
TEST(HttpDate, agrees_with_the_c_library_and_with_itself) {
  Prng prng(3);
  for (int n = 0; n < 20000; ++n) {
    const int64_t seconds = static_cast<int64_t>(prng.next() % 253402300800ULL) - (n % 2 == 0 ? 62167219200 : 0);
    const time_t when = seconds;
    struct tm parts {};
    ASSERT_NE(gmtime_r(&when, &parts), nullptr);
    char expected[64];
    ASSERT_NE(std::strftime(expected, sizeof expected, "%a, %d %b ", &parts), 0U);
    const std::string text = written(seconds);
    EXPECT_TRUE(text.starts_with(expected)) << text << " is not " << expected;
    EXPECT_EQ(parse_decimal(text.substr(12, 4)), static_cast<uint64_t>(parts.tm_year + 1900));
    EXPECT_EQ(read(text), seconds) << text;
  }
}

TEST(HttpDate, reads_the_obsolete_forms) {
  EXPECT_EQ(read("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
  EXPECT_EQ(read("Sun Nov  6 08:49:37 1994"), 784111777);
  EXPECT_EQ(read("Wed Nov 16 08:49:37 1994"), 784975777);
}

TEST(HttpDate, takes_a_two_digit_year_for_the_nearest_past_or_next_fifty) {
  // In 2023, 73 is 2073, fifty years ahead, and 74 is 1974. (1 January was a Sunday in 2073, a Tuesday in 1974.)
  EXPECT_EQ(read("Sunday, 01-Jan-73 00:00:00 GMT"), read("Sun, 01 Jan 2073 00:00:00 GMT"));
  EXPECT_EQ(read("Tuesday, 01-Jan-74 00:00:00 GMT"), read("Tue, 01 Jan 1974 00:00:00 GMT"));
  EXPECT_EQ(read("Wednesday, 01-Jan-20 00:00:00 GMT"), read("Wed, 01 Jan 2020 00:00:00 GMT"));
}

TEST(HttpDate, reads_a_leap_second_as_the_second_before) {
  EXPECT_EQ(read("Sat, 31 Dec 2016 23:59:60 GMT"), 1483228799);
  EXPECT_EQ(read("Sat, 31 Dec 2016 22:59:60 GMT"), std::nullopt);
  EXPECT_EQ(read("Sat, 31 Dec 2016 23:59:61 GMT"), std::nullopt);
}

TEST(HttpDate, refuses_everything_else) {
  for (const std::string_view text : {"",
                                      "0",
                                      "784111777",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 UTC",
                                      "Sun, 06 Nov 1994 08:49:37 +00",
                                      "sun, 06 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 nov 1994 08:49:37 GMT",
                                      "Mon, 06 Nov 1994 08:49:37 GMT",
                                      "Sun, 6 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 94 08:49:37 GMT",
                                      "Sun, 32 Nov 1994 08:49:37 GMT",
                                      "Sun, 31 Nov 1994 08:49:37 GMT",
                                      "Sun, 00 Nov 1994 08:49:37 GMT",
                                      "Tue, 29 Feb 1994 08:49:37 GMT",
                                      "Thu, 29 Feb 1900 00:00:00 GMT",
                                      "Sun, 06 Nov 1994 24:00:00 GMT",
                                      "Sun, 06 Nov 1994 08:60:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:37 GMT ",
                                      " Sun, 06 Nov 1994 08:49:37 GMT",
                                      "Sun,06 Nov 1994 08:49:37 GMT",
                                      "Sun, 06-Nov-1994 08:49:37 GMT",
                                      "Sun, 06 anF 1994 08:49:37 GMT",
                                      "Sunday, 06-Nov-94 08:49:37",
                                      "Sun, 06-Nov-94 08:49:37 GMT",
                                      "Sun Nov 06 08:49:37 94",
                                      "Sun Nov 6 08:49:37 1994",
                                      "Sun Nov  6 08:49:37 1994 GMT",
                                      ",,,",
                                      "Sun, -6 Nov 1994 08:49:37 GMT"}) {
    EXPECT_EQ(read(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace penstock
