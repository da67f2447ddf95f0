// FEATURES CO3: the table of Accept-Encoding values.

#include "src/http/accept_encoding.h"

#include "tests/unit/http/parse_helper.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

constexpr uint8_t ALL = ACCEPT_GZIP | ACCEPT_BR | ACCEPT_ZSTD;

struct Case {
  std::string_view value;
  uint8_t available;
  std::string_view chosen;  // "none": nothing is acceptable
};

constexpr Case CASES[] = {
    {"", ALL, "identity"},
    {"", ACCEPT_GZIP, "identity"},
    {"", 0, "identity"},
    {"gzip", ALL, "gzip"},
    {"gzip", ACCEPT_GZIP, "gzip"},
    {"gzip", 0, "identity"},
    {"br", ALL, "br"},
    {"br", ACCEPT_GZIP, "identity"},
    {"br", 0, "identity"},
    {"zstd", ALL, "zstd"},
    {"zstd", ACCEPT_GZIP, "identity"},
    {"zstd", 0, "identity"},
    {"identity", ALL, "identity"},
    {"identity", ACCEPT_GZIP, "identity"},
    {"identity", 0, "identity"},
    {"*", ALL, "br"},
    {"*", ACCEPT_GZIP, "gzip"},
    {"*", 0, "identity"},
    {"deflate", ALL, "identity"},
    {"deflate", ACCEPT_GZIP, "identity"},
    {"deflate", 0, "identity"},
    {"compress", ALL, "identity"},
    {"compress", ACCEPT_GZIP, "identity"},
    {"compress", 0, "identity"},
    {"x-gzip", ALL, "gzip"},
    {"x-gzip", ACCEPT_GZIP, "gzip"},
    {"x-gzip", 0, "identity"},
    {"GZIP", ALL, "gzip"},
    {"GZIP", ACCEPT_GZIP, "gzip"},
    {"GZIP", 0, "identity"},
    {"Br", ALL, "br"},
    {"Br", ACCEPT_GZIP, "identity"},
    {"Br", 0, "identity"},
    {"gzip, deflate", ALL, "gzip"},
    {"gzip, deflate", ACCEPT_GZIP, "gzip"},
    {"gzip, deflate", 0, "identity"},
    {"gzip, deflate, br", ALL, "br"},
    {"gzip, deflate, br", ACCEPT_GZIP, "gzip"},
    {"gzip, deflate, br", 0, "identity"},
    {"gzip, deflate, br, zstd", ALL, "br"},
    {"gzip, deflate, br, zstd", ACCEPT_GZIP, "gzip"},
    {"gzip, deflate, br, zstd", 0, "identity"},
    {"gzip,br", ALL, "br"},
    {"gzip,br", ACCEPT_GZIP, "gzip"},
    {"gzip,br", 0, "identity"},
    {"br,gzip", ALL, "br"},
    {"br,gzip", ACCEPT_GZIP, "gzip"},
    {"br,gzip", 0, "identity"},
    {"  gzip ,\tbr  ", ALL, "br"},
    {"  gzip ,\tbr  ", ACCEPT_GZIP, "gzip"},
    {"  gzip ,\tbr  ", 0, "identity"},
    {",,gzip,,", ALL, "gzip"},
    {",,gzip,,", ACCEPT_GZIP, "gzip"},
    {",,gzip,,", 0, "identity"},
    {"gzip;q=0", ALL, "identity"},
    {"gzip;q=0", ACCEPT_GZIP, "identity"},
    {"gzip;q=0", 0, "identity"},
    {"br;q=0", ALL, "identity"},
    {"br;q=0", ACCEPT_GZIP, "identity"},
    {"br;q=0", 0, "identity"},
    {"*;q=0", ALL, "none"},
    {"*;q=0", ACCEPT_GZIP, "none"},
    {"*;q=0", 0, "none"},
    {"identity;q=0", ALL, "none"},
    {"identity;q=0", ACCEPT_GZIP, "none"},
    {"identity;q=0", 0, "none"},
    {"identity;q=0, *;q=0", ALL, "none"},
    {"identity;q=0, *;q=0", ACCEPT_GZIP, "none"},
    {"identity;q=0, *;q=0", 0, "none"},
    {"gzip;q=0, *;q=0", ALL, "none"},
    {"gzip;q=0, *;q=0", ACCEPT_GZIP, "none"},
    {"gzip;q=0, *;q=0", 0, "none"},
    {"gzip, *;q=0", ALL, "gzip"},
    {"gzip, *;q=0", ACCEPT_GZIP, "gzip"},
    {"gzip, *;q=0", 0, "none"},
    {"identity, *;q=0", ALL, "identity"},
    {"identity, *;q=0", ACCEPT_GZIP, "identity"},
    {"identity, *;q=0", 0, "identity"},
    {"br;q=0, *", ALL, "zstd"},
    {"br;q=0, *", ACCEPT_GZIP, "gzip"},
    {"br;q=0, *", 0, "identity"},
    {"gzip;q=0, br;q=0, zstd;q=0", ALL, "identity"},
    {"gzip;q=0, br;q=0, zstd;q=0", ACCEPT_GZIP, "identity"},
    {"gzip;q=0, br;q=0, zstd;q=0", 0, "identity"},
    {"identity;q=0, gzip", ALL, "gzip"},
    {"identity;q=0, gzip", ACCEPT_GZIP, "gzip"},
    {"identity;q=0, gzip", 0, "none"},
    {"identity;q=0, deflate", ALL, "none"},
    {"identity;q=0, deflate", ACCEPT_GZIP, "none"},
    {"identity;q=0, deflate", 0, "none"},
    {"*;q=0.5", ALL, "br"},
    {"*;q=0.5", ACCEPT_GZIP, "gzip"},
    {"*;q=0.5", 0, "identity"},
    {"*;q=0.5, gzip;q=0.4", ALL, "br"},
    {"*;q=0.5, gzip;q=0.4", ACCEPT_GZIP, "identity"},
    {"*;q=0.5, gzip;q=0.4", 0, "identity"},
    {"*;q=0.1, identity;q=0.2", ALL, "identity"},
    {"*;q=0.1, identity;q=0.2", ACCEPT_GZIP, "identity"},
    {"*;q=0.1, identity;q=0.2", 0, "identity"},
    {"*, identity;q=0", ALL, "br"},
    {"*, identity;q=0", ACCEPT_GZIP, "gzip"},
    {"*, identity;q=0", 0, "none"},
    {"gzip;q=0.5, br;q=0.5", ALL, "br"},
    {"gzip;q=0.5, br;q=0.5", ACCEPT_GZIP, "gzip"},
    {"gzip;q=0.5, br;q=0.5", 0, "identity"},
    {"gzip;q=0.6, br;q=0.5", ALL, "gzip"},
    {"gzip;q=0.6, br;q=0.5", ACCEPT_GZIP, "gzip"},
    {"gzip;q=0.6, br;q=0.5", 0, "identity"},
    {"gzip;q=1.0, br;q=0.8, *;q=0.1", ALL, "gzip"},
    {"gzip;q=1.0, br;q=0.8, *;q=0.1", ACCEPT_GZIP, "gzip"},
    {"gzip;q=1.0, br;q=0.8, *;q=0.1", 0, "identity"},
    {"gzip;q=1.0,deflate;q=0.6,identity;q=0.3", ALL, "gzip"},
    {"gzip;q=1.0,deflate;q=0.6,identity;q=0.3", ACCEPT_GZIP, "gzip"},
    {"gzip;q=1.0,deflate;q=0.6,identity;q=0.3", 0, "identity"},
    {"identity;q=1, gzip;q=0.5", ALL, "identity"},
    {"identity;q=1, gzip;q=0.5", ACCEPT_GZIP, "identity"},
    {"identity;q=1, gzip;q=0.5", 0, "identity"},
    {"identity;q=0.5, gzip;q=0.5", ALL, "gzip"},
    {"identity;q=0.5, gzip;q=0.5", ACCEPT_GZIP, "gzip"},
    {"identity;q=0.5, gzip;q=0.5", 0, "identity"},
    {"identity;q=0.5, gzip;q=0.4", ALL, "identity"},
    {"identity;q=0.5, gzip;q=0.4", ACCEPT_GZIP, "identity"},
    {"identity;q=0.5, gzip;q=0.4", 0, "identity"},
    {"gzip;q=0.001", ALL, "gzip"},
    {"gzip;q=0.001", ACCEPT_GZIP, "gzip"},
    {"gzip;q=0.001", 0, "identity"},
    {"gzip;q=0.0", ALL, "identity"},
    {"gzip;q=0.0", ACCEPT_GZIP, "identity"},
    {"gzip;q=0.0", 0, "identity"},
    {"gzip;q=0.000", ALL, "identity"},
    {"gzip;q=0.000", ACCEPT_GZIP, "identity"},
    {"gzip;q=0.000", 0, "identity"},
    {"gzip;q=1.000", ALL, "gzip"},
    {"gzip;q=1.000", ACCEPT_GZIP, "gzip"},
    {"gzip;q=1.000", 0, "identity"},
    {"gzip;q=0.", ALL, "identity"},
    {"gzip;q=0.", ACCEPT_GZIP, "identity"},
    {"gzip;q=0.", 0, "identity"},
    {"gzip;q=1.", ALL, "gzip"},
    {"gzip;q=1.", ACCEPT_GZIP, "gzip"},
    {"gzip;q=1.", 0, "identity"},
    {"gzip;q=1.001", ALL, "identity"},
    {"gzip;q=1.001", ACCEPT_GZIP, "identity"},
    {"gzip;q=1.001", 0, "identity"},
    {"gzip;q=2", ALL, "identity"},
    {"gzip;q=2", ACCEPT_GZIP, "identity"},
    {"gzip;q=2", 0, "identity"},
    {"gzip;q=-1", ALL, "identity"},
    {"gzip;q=-1", ACCEPT_GZIP, "identity"},
    {"gzip;q=-1", 0, "identity"},
    {"gzip;q=.5", ALL, "identity"},
    {"gzip;q=.5", ACCEPT_GZIP, "identity"},
    {"gzip;q=.5", 0, "identity"},
    {"gzip;q=0.0001", ALL, "identity"},
    {"gzip;q=0.0001", ACCEPT_GZIP, "identity"},
    {"gzip;q=0.0001", 0, "identity"},
    {"gzip;q=0.5555", ALL, "identity"},
    {"gzip;q=0.5555", ACCEPT_GZIP, "identity"},
    {"gzip;q=0.5555", 0, "identity"},
    {"gzip;q=", ALL, "identity"},
    {"gzip;q=", ACCEPT_GZIP, "identity"},
    {"gzip;q=", 0, "identity"},
    {"gzip;q", ALL, "identity"},
    {"gzip;q", ACCEPT_GZIP, "identity"},
    {"gzip;q", 0, "identity"},
    {"gzip;", ALL, "identity"},
    {"gzip;", ACCEPT_GZIP, "identity"},
    {"gzip;", 0, "identity"},
    {"gzip;x=1", ALL, "identity"},
    {"gzip;x=1", ACCEPT_GZIP, "identity"},
    {"gzip;x=1", 0, "identity"},
    {"gzip;q=abc", ALL, "identity"},
    {"gzip;q=abc", ACCEPT_GZIP, "identity"},
    {"gzip;q=abc", 0, "identity"},
    {"gzip;Q=0.5", ALL, "gzip"},
    {"gzip;Q=0.5", ACCEPT_GZIP, "gzip"},
    {"gzip;Q=0.5", 0, "identity"},
    {"gzip ; q=0.5", ALL, "gzip"},
    {"gzip ; q=0.5", ACCEPT_GZIP, "gzip"},
    {"gzip ; q=0.5", 0, "identity"},
    {"gzip;q=0.5;x=1", ALL, "identity"},
    {"gzip;q=0.5;x=1", ACCEPT_GZIP, "identity"},
    {"gzip;q=0.5;x=1", 0, "identity"},
    {"gzip; q=0", ALL, "identity"},
    {"gzip; q=0", ACCEPT_GZIP, "identity"},
    {"gzip; q=0", 0, "identity"},
    {"gzip;q = 0", ALL, "identity"},
    {"gzip;q = 0", ACCEPT_GZIP, "identity"},
    {"gzip;q = 0", 0, "identity"},
    {"gz ip, br", ALL, "br"},
    {"gz ip, br", ACCEPT_GZIP, "identity"},
    {"gz ip, br", 0, "identity"},
    {"\"gzip\", br", ALL, "br"},
    {"\"gzip\", br", ACCEPT_GZIP, "identity"},
    {"\"gzip\", br", 0, "identity"},
    {"gzip;q=0, gzip;q=1", ALL, "identity"},
    {"gzip;q=0, gzip;q=1", ACCEPT_GZIP, "identity"},
    {"gzip;q=0, gzip;q=1", 0, "identity"},
    {"gzip;q=1, gzip;q=0", ALL, "gzip"},
    {"gzip;q=1, gzip;q=0", ACCEPT_GZIP, "gzip"},
    {"gzip;q=1, gzip;q=0", 0, "identity"},
    {"*;q=0, *", ALL, "none"},
    {"*;q=0, *", ACCEPT_GZIP, "none"},
    {"*;q=0, *", 0, "none"},
    {"x-gzip;q=0, gzip", ALL, "identity"},
    {"x-gzip;q=0, gzip", ACCEPT_GZIP, "identity"},
    {"x-gzip;q=0, gzip", 0, "identity"},
    {"br;q=1;q=0, gzip", ALL, "gzip"},
    {"br;q=1;q=0, gzip", ACCEPT_GZIP, "gzip"},
    {"br;q=1;q=0, gzip", 0, "identity"},
    {"gzip=1", ALL, "identity"},
    {"gzip=1", ACCEPT_GZIP, "identity"},
    {"gzip=1", 0, "identity"},
    {"(gzip)", ALL, "identity"},
    {"(gzip)", ACCEPT_GZIP, "identity"},
    {"(gzip)", 0, "identity"},
    {"zstd;q=0.9, br;q=0.9, gzip;q=0.9", ALL, "br"},
    {"zstd;q=0.9, br;q=0.9, gzip;q=0.9", ACCEPT_GZIP, "gzip"},
    {"zstd;q=0.9, br;q=0.9, gzip;q=0.9", 0, "identity"},
    {"zstd;q=0.91, br;q=0.9", ALL, "zstd"},
    {"zstd;q=0.91, br;q=0.9", ACCEPT_GZIP, "identity"},
    {"zstd;q=0.91, br;q=0.9", 0, "identity"},
    {"identity;q=0.001", ALL, "identity"},
    {"identity;q=0.001", ACCEPT_GZIP, "identity"},
    {"identity;q=0.001", 0, "identity"},
    {"identity;q=0.001, gzip;q=0.001", ALL, "gzip"},
    {"identity;q=0.001, gzip;q=0.001", ACCEPT_GZIP, "gzip"},
    {"identity;q=0.001, gzip;q=0.001", 0, "identity"},
    {"compress, gzip", ALL, "gzip"},
    {"compress, gzip", ACCEPT_GZIP, "gzip"},
    {"compress, gzip", 0, "identity"},
    {"pack200-gzip", ALL, "identity"},
    {"pack200-gzip", ACCEPT_GZIP, "identity"},
    {"pack200-gzip", 0, "identity"},
    {"exi, br", ALL, "br"},
    {"exi, br", ACCEPT_GZIP, "identity"},
    {"exi, br", 0, "identity"},
    {"aes128gcm", ALL, "identity"},
    {"aes128gcm", ACCEPT_GZIP, "identity"},
    {"aes128gcm", 0, "identity"},
    {"dcb, dcz, zstd", ALL, "zstd"},
    {"dcb, dcz, zstd", ACCEPT_GZIP, "identity"},
    {"dcb, dcz, zstd", 0, "identity"},
};
static_assert(std::size(CASES) >= 200);

std::string_view name_of(CodingChoice choice) { return choice.acceptable ? coding_name(choice.coding) : "none"; }

TEST(AcceptEncoding, chooses_by_the_table) {
  for (const Case& row : CASES) {
    const GuardedText value(row.value);
    EXPECT_EQ(name_of(choose_coding(parse_accept_encoding(value.view()), row.available)), row.chosen)
        << '"' << row.value << "\" of " << int{row.available};
  }
}

TEST(AcceptEncoding, chooses_the_same_by_mask_where_the_value_is_simple) {
  size_t simple = 0;
  for (const Case& row : CASES) {
    const GuardedText value(row.value);
    const AcceptMask accept = accept_mask_of(value.view());
    if (!accept.simple) continue;
    ++simple;
    EXPECT_EQ(name_of(choose_coding(accept.mask, row.available)), row.chosen) << '"' << row.value << '"';
  }
  EXPECT_GT(simple, 50U);
}

TEST(AcceptEncoding, calls_simple_what_clients_send_and_nothing_with_weights) {
  const auto mask = [](std::string_view value) {
    const AcceptMask accept = accept_mask_of(value);
    return accept.simple ? int{accept.mask} : -1;
  };
  EXPECT_EQ(mask("gzip, deflate, br, zstd"), ALL);
  EXPECT_EQ(mask("gzip, deflate, br"), ACCEPT_GZIP | ACCEPT_BR);
  EXPECT_EQ(mask("gzip, deflate"), ACCEPT_GZIP);
  EXPECT_EQ(mask("zstd,GZIP"), ACCEPT_ZSTD | ACCEPT_GZIP);
  EXPECT_EQ(mask("deflate"), 0);
  EXPECT_EQ(mask(""), 0);
  EXPECT_EQ(mask("gzip;q=1"), -1);
  EXPECT_EQ(mask("*"), -1);
  EXPECT_EQ(mask("identity"), -1);
  EXPECT_EQ(mask("gzip, identity"), -1);
  EXPECT_EQ(mask("g zip"), -1);
}

TEST(AcceptEncoding, reads_all_lines_of_a_request_as_one_list) {
  const Parsed none = parse_text("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(name_of(choose_coding(none.head, ALL)), "identity");
  const Parsed two = parse_text(
      "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip;q=0.5\r\nA: b\r\nAccept-Encoding: br;q=0.4\r\n\r\n");
  EXPECT_FALSE(two.head.accept_simple);
  EXPECT_EQ(name_of(choose_coding(two.head, ALL)), "gzip");
  EXPECT_EQ(name_of(choose_coding(two.head, ACCEPT_BR)), "br");
}

TEST(AcceptEncoding, gives_each_coding_its_own_bit) {
  EXPECT_EQ(coding_bit(Coding::IDENTITY), 0);
  EXPECT_EQ(coding_bit(Coding::GZIP), ACCEPT_GZIP);
  EXPECT_EQ(coding_bit(Coding::BR), ACCEPT_BR);
  EXPECT_EQ(coding_bit(Coding::ZSTD), ACCEPT_ZSTD);
}

}  // namespace
}  // namespace penstock
