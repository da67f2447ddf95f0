#include "src/base/bytes.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(ParseDecimal, accepts_digits_only_and_the_whole_text) {
  EXPECT_EQ(parse_decimal("0"), 0u);
  EXPECT_EQ(parse_decimal("007"), 7u);
  for (const char* bad : {"", "+1", "-1", " 1", "1 ", "1a", "0x1"}) EXPECT_FALSE(parse_decimal(bad)) << bad;
}

TEST(ParseDecimal, refuses_overflow_at_the_first_number_beyond_64_bits) {
  EXPECT_EQ(parse_decimal("18446744073709551615"), UINT64_MAX);
  EXPECT_FALSE(parse_decimal("18446744073709551616"));
  EXPECT_FALSE(parse_decimal("99999999999999999999"));
}

TEST(TrimOws, takes_spaces_and_tabs_off_both_ends_only) {
  EXPECT_EQ(trim_ows(" \ta b\t "), "a b");
  EXPECT_EQ(trim_ows(" \t "), "");
  EXPECT_EQ(trim_ows("\r"), "\r");
}

TEST(Iequals, folds_ascii_letters_and_nothing_else) {
  EXPECT_TRUE(iequals("Content-LENGTH", "content-length"));
  EXPECT_FALSE(iequals("a", "ab"));
  EXPECT_FALSE(iequals("@", "`"));  // 0x40 and 0x60 differ in the case bit but are no letters
}

}  // namespace
}  // namespace penstock
