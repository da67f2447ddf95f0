#include "src/config/types.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr SettingRange ANY{0, UINT64_MAX};
constexpr SettingRange ANY_TEXT{0, 64};
constexpr SettingRange LIST{0, 8};

// The canonical text of `raw`, or "!" and what was expected.
template <class Type>
std::string canonical(std::string_view raw, SettingRange range) {
  const auto value = Type::parse(raw, range);
  if (!value) return "!" + value.error();
  const std::string text = Type::print(*value);
  const auto again = Type::parse(text, range);
  EXPECT_TRUE(again.has_value()) << raw << " → " << text;
  if (again) {
    EXPECT_EQ(*again, *value) << raw << " → " << text;
  }
  return text;
}

template <class Type>
void expect_refused(SettingRange range, std::initializer_list<std::string_view> texts) {
  for (const std::string_view text : texts) EXPECT_EQ(canonical<Type>(text, range).substr(0, 1), "!") << text;
}

TEST(ConfigTypes, switch_takes_the_usual_words) {
  for (const std::string_view text : {"1", "on", "yes", "true"}) EXPECT_EQ(canonical<ConfigBool>(text, {0, 1}), "1");
  for (const std::string_view text : {"0", "off", "no", "false"}) EXPECT_EQ(canonical<ConfigBool>(text, {0, 1}), "0");
  expect_refused<ConfigBool>({0, 1}, {"", "2", "On", "enable", "1 "});
}

TEST(ConfigTypes, count_holds_its_bounds_exactly) {
  const SettingRange range{2, 100};
  EXPECT_EQ(canonical<ConfigCount>("2", range), "2");
  EXPECT_EQ(canonical<ConfigCount>("100", range), "100");
  EXPECT_EQ(canonical<ConfigCount>("007", range), "7");
  expect_refused<ConfigCount>(range, {"1", "101", "-5", "+5", "5k", "5.0", "", "0x5", "18446744073709551618"});
  EXPECT_EQ(canonical<ConfigCount>("4294967295", ANY), "4294967295");
  expect_refused<ConfigCount>(ANY, {"4294967296"});
}

TEST(ConfigTypes, power_of_two_is_one) {
  for (const std::string_view text : {"16", "64", "1024"})
    EXPECT_EQ(canonical<ConfigPowerOfTwo>(text, {16, 1024}), text);
  expect_refused<ConfigPowerOfTwo>({0, 1024}, {"0", "3", "1000", "2048"});
}

TEST(ConfigTypes, size_has_units_and_one_canonical_text) {
  EXPECT_EQ(canonical<ConfigSize>("1024k", ANY), "1m");
  EXPECT_EQ(canonical<ConfigSize>("1025k", ANY), "1025k");
  EXPECT_EQ(canonical<ConfigSize>("2G", ANY), "2g");
  EXPECT_EQ(canonical<ConfigSize>("30000000", ANY), "30000000");
  EXPECT_EQ(canonical<ConfigSize>("0k", ANY), "0");
  EXPECT_EQ(canonical<ConfigSize>("17179869183g", ANY), "17179869183g");
  expect_refused<ConfigSize>(ANY, {"", "k", "1kb", "1 k", "1.5m", "-1", "17179869184g", "18446744073709551616", "1t"});
  EXPECT_EQ(canonical<ConfigSize>("4k", {4096, 8192}), "4k");
  EXPECT_EQ(canonical<ConfigSize>("8k", {4096, 8192}), "8k");
  EXPECT_EQ(canonical<ConfigSize>("4095", {4096, 8192}), "!a size from 4k to 8k, in bytes or with k, m, g");
  expect_refused<ConfigSize>({4096, 8192}, {"8193"});
}

TEST(ConfigTypes, time_needs_a_unit) {
  EXPECT_EQ(canonical<ConfigTime>("1500ms", ANY), "1500ms");
  EXPECT_EQ(canonical<ConfigTime>("1000ms", ANY), "1s");
  EXPECT_EQ(canonical<ConfigTime>("90s", ANY), "90s");
  EXPECT_EQ(canonical<ConfigTime>("120s", ANY), "2m");
  EXPECT_EQ(canonical<ConfigTime>("60m", ANY), "1h");
  EXPECT_EQ(canonical<ConfigTime>("0", ANY), "0");
  EXPECT_EQ(canonical<ConfigTime>("0s", ANY), "0");
  EXPECT_EQ(ConfigTime::parse("2s", ANY), seconds(2));
  expect_refused<ConfigTime>(ANY,
                             {"", "30", "s", "1d", "1us", "1.5s", "-1s", "18446744073709551615h", "9223372036855ms0"});
  EXPECT_EQ(canonical<ConfigTime>("100ms", {100, 1000}), "100ms");
  EXPECT_EQ(canonical<ConfigTime>("1s", {100, 1000}), "1s");
  expect_refused<ConfigTime>({100, 1000}, {"99ms", "1001ms", "0"});
}

TEST(ConfigTypes, time_cannot_overflow_its_nanoseconds) {
  EXPECT_EQ(ConfigTime::parse("9223372036854ms", ANY), milliseconds(9223372036854));
  expect_refused<ConfigTime>(ANY, {"9223372036855ms", "18446744073709551615ms"});
}

TEST(ConfigTypes, choice_takes_its_words_only) {
  for (const auto& entry : enum_words<TransportSetting>()) {
    EXPECT_EQ(canonical<ConfigEnum<TransportSetting>>(entry.word, {}), entry.word);
  }
  EXPECT_EQ(canonical<ConfigEnum<TransportSetting>>("iouring", {}), "!one of uring, epoll, dpdk");
  EXPECT_EQ(ConfigEnum<HandlerSetting>::parse("static", {}), HandlerSetting::STATIC);
  EXPECT_EQ(to_text(UnknownTypeSetting::OCTET_STREAM), "octet-stream");
}

TEST(ConfigTypes, path_is_absolute) {
  EXPECT_EQ(canonical<ConfigPath>("/srv/a b", ANY_TEXT), "/srv/a b");
  EXPECT_EQ(canonical<ConfigPath>("\" \"", ANY_TEXT).substr(0, 1), "!");
  EXPECT_EQ(canonical<ConfigPath>("\"/a \"", ANY_TEXT), "\"/a \"");
  EXPECT_EQ(canonical<ConfigPath>("\"\"", ANY_TEXT), "\"\"");
  expect_refused<ConfigPath>(ANY_TEXT, {"srv", "./x", "~/x", "file:///x"});
  expect_refused<ConfigPath>({1, 4}, {"\"\"", "/abcd"});
}

TEST(ConfigTypes, url_path_is_canonical) {
  for (const std::string_view text : {"/", "/a", "/a/", "/a.b/...", "/ä", "/100%", "/a:b"}) {
    EXPECT_EQ(canonical<ConfigUrlPath>(text, ANY_TEXT), text);
  }
  expect_refused<ConfigUrlPath>(
      ANY_TEXT, {"a", "//", "/a//b", "/.", "/../a", "/a/..", "/a/./b", "/a?b", "/%2e", "/a%20b", "/a\\b", "/a//"});
}

TEST(ConfigTypes, header_value_cannot_carry_a_second_header) {
  EXPECT_EQ(canonical<ConfigHeaderValue>("max-age=60, \\ok", ANY_TEXT), "max-age=60, \\ok");
  EXPECT_EQ(canonical<ConfigHeaderValue>("\"{\\\"a\\\": 1}\"", ANY_TEXT), "\"{\\\"a\\\": 1}\"");
  expect_refused<ConfigHeaderValue>(ANY_TEXT, {"\"a\r\nB: c\"", "\" a\"", "\"a \"", "ä", "\"a\tb\""});
}

TEST(ConfigTypes, redirect_target_cannot_become_another_host) {
  for (const std::string_view text :
       {"/", "/new$path$query", "https://$host$path$query", "http://a.example/$$", "/a?b=c"}) {
    EXPECT_EQ(canonical<ConfigTarget>(text, ANY_TEXT), text);
  }
  expect_refused<ConfigTarget>(
      ANY_TEXT, {"//evil.example", "/$path", "$path", "javascript:x", "/a b", "/$x", "/a$", "/ä", "ftp://x", "/a\\b"});
}

TEST(ConfigTypes, error_page_is_a_path_or_the_url_of_another) {
  for (const std::string_view text :
       {"/", "/e/404.html", "/missing page.html", "http://a.example", "https://a.example/e",
        "https://[2001:db8::1]:8443/e?why=404#top", "http://a.example?q", "/a:b@c"}) {
    EXPECT_EQ(canonical<ConfigErrorPage>(text, ANY_TEXT), text);
  }
  expect_refused<ConfigErrorPage>(
      ANY_TEXT,
      {"a", "//a.example/", "/a//b", "/../a", "/a?b", "ftp://a.example/", "javascript:x", "HTTP:/a", "http://",
       "https:///e", "http://?q", "http://:80/", "http://a.example@b.example/", "https://a.example/a b",
       "\"http://a.example/\r\nSet-Cookie: a\"", "\"http://a.example/\n\"", "https://a.example/\"", "http://ä/"});
}

TEST(ConfigTypes, listen_takes_every_family) {
  const auto text = [](std::string_view raw) { return canonical<ConfigList<ConfigListenItem>>(raw, LIST); };
  EXPECT_EQ(text("127.0.0.1:8080, [::1]:80 unix:/run/p.sock unix:@p"),
            "127.0.0.1:8080 [::1]:80 unix:/run/p.sock unix:@p");
  EXPECT_EQ(text("[2001:DB8:0:0::1]:0443 0.0.0.0:0"), "[2001:db8::1]:443 0.0.0.0:0");
  EXPECT_EQ(text("\"unix:/a b\""), "\"unix:/a b\"");
  expect_refused<ConfigList<ConfigListenItem>>(
      LIST, {"8080", ":8080", "localhost:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.1:80", "::1:80",
             "[::1]", "[]:80", "[::1]80", "unix:", "unix:@", "unix:/", "unix:x", "1.2.3.4:80 1.2.3.4:080",
             "[127.0.0.1]:80", "[::1%lo]:80"});
  EXPECT_EQ(text("unix:@" + std::string(107, 'a')), "unix:@" + std::string(107, 'a'));
  expect_refused<ConfigList<ConfigListenItem>>(LIST, {"unix:@" + std::string(108, 'a')});
  using Interfaces = ConfigList<ConfigInterfaceItem>;
  EXPECT_EQ(canonical<Interfaces>("192.0.2.1/24 2001:DB8:0::1/64", LIST), "192.0.2.1/24 2001:db8::1/64");
  expect_refused<Interfaces>(LIST, {"192.0.2.1", "192.0.2.1/0", "192.0.2.1/33", "::1/129", "192.0.2/24", "x/1"});
  EXPECT_EQ(canonical<ConfigList<ConfigGatewayItem>>("192.0.2.1 2001:DB8:0::1", LIST), "192.0.2.1 2001:db8::1");
  expect_refused<ConfigList<ConfigGatewayItem>>(LIST, {"192.0.2.1/24", "localhost", "[::1]"});
  const auto parsed = ConfigListenItem::parse_item("192.0.2.7:65535");
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->kind, ListenAddress::Kind::IPV4);
  EXPECT_EQ(parsed->port, 65535);
  EXPECT_EQ(parsed->ip[0], 192);
  EXPECT_EQ(parsed->ip[3], 7);
}

TEST(ConfigTypes, hosts_are_lower_case_names_wildcards_and_addresses) {
  const auto text = [](std::string_view raw) { return canonical<ConfigList<ConfigHostItem>>(raw, LIST); };
  EXPECT_EQ(text("Example.ORG *.Example.org * 192.0.2.1 [::0:1] a_b.example. xn--a"),
            "example.org *.example.org * 192.0.2.1 [::1] a_b.example xn--a");
  expect_refused<ConfigList<ConfigHostItem>>(
      LIST, {"a..b", ".a", "*a.example", "a.*", "*.", "**", "ä.example", "-a", "a-", "a:80", "a/b",
             "a.example A.EXAMPLE", "[1.2.3.4]", "::1", std::string(64, 'a')});
  EXPECT_EQ(text(std::string(63, 'a')), std::string(63, 'a'));
}

TEST(ConfigTypes, urls_are_paths_with_or_without_a_host) {
  const auto text = [](std::string_view raw) { return canonical<ConfigList<ConfigUrlItem>>(raw, LIST); };
  EXPECT_EQ(text("/ /a%20b?c=d http://a.example/ http://[::1]/x"), "/ /a%20b?c=d http://a.example/ http://[::1]/x");
  expect_refused<ConfigList<ConfigUrlItem>>(
      LIST, {"a", "http://a.example", "https://a.example/", "http:///x", "http://*.example/", "http://*/", "/a#b", "/ä",
             "\"/a b\"", "/a /a", "/" + std::string(4096, 'a')});
}

TEST(ConfigTypes, list_counts_its_items) {
  EXPECT_EQ(canonical<ConfigList<ConfigFileNameItem>>("a b", {2, 2}), "a b");
  expect_refused<ConfigList<ConfigFileNameItem>>({2, 2}, {"a", "a b c", "a a", "a/b c", ". a", ".. a"});
  EXPECT_EQ(canonical<ConfigList<ConfigFileNameItem>>("\"a b.html\", c", LIST), "\"a b.html\" c");
  EXPECT_EQ(canonical<ConfigList<ConfigCodingItem>>("zstd gzip", LIST), "zstd gzip");
  expect_refused<ConfigList<ConfigCodingItem>>(LIST, {"deflate", "gzip gzip", "identity"});
  EXPECT_EQ(canonical<ConfigList<ConfigTlsGroupItem>>("?X25519MLKEM768, X25519 P-256", LIST),
            "?X25519MLKEM768 X25519 P-256");
  expect_refused<ConfigList<ConfigTlsGroupItem>>(
      LIST, {"X25519:P-256", "??X25519", "?", "-P-256", "*X25519", "a/b", "default", std::string(65, 'a'), "a a"});
  EXPECT_EQ(canonical<ConfigList<ConfigTlsCompressionItem>>("zstd ?zlib", LIST), "zstd ?zlib");
  expect_refused<ConfigList<ConfigTlsCompressionItem>>(LIST, {"gzip", "?", "??zlib", "zlib zlib"});
  EXPECT_EQ(canonical<ConfigList<ConfigTimeOfDayItem>>("23:59 00:00 04:30", LIST), "23:59 00:00 04:30");
  expect_refused<ConfigList<ConfigTimeOfDayItem>>(LIST,
                                                  {"24:00", "4:30", "04:60", "0430", "04:3a", "-4:30", "01:00 01:00"});
  const std::string sum = "BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_EQ(canonical<ConfigList<ConfigSha256Item>>(sum, LIST), "ba" + sum.substr(2));
  expect_refused<ConfigList<ConfigSha256Item>>(LIST, {"abc", sum.substr(1) + "g", sum + "0", sum.substr(1)});
  EXPECT_EQ(canonical<ConfigList<ConfigMimeGlobItem>>("Text/* image/svg+xml", LIST), "text/* image/svg+xml");
  expect_refused<ConfigList<ConfigMimeGlobItem>>(LIST, {"*", "*/*", "text", "text/", "a/b/c", "a/*x"});
  EXPECT_EQ(canonical<ConfigList<ConfigMethodItem>>("GET get M-SEARCH", LIST), "GET get M-SEARCH");
  expect_refused<ConfigList<ConfigMethodItem>>(LIST, {"GE(T", "\"G T\""});
  EXPECT_EQ(canonical<ConfigList<ConfigLogFieldItem>>("sc-status cs(User-Agent)", LIST), "sc-status cs(User-Agent)");
  expect_refused<ConfigList<ConfigLogFieldItem>>(
      LIST, {"cs(", "cs()", "cs(a", "(a)", "cs(a)b", "A", "cs(Cookie)", "sc-statu"});
  EXPECT_EQ(canonical<ConfigList<ConfigLogFieldItem>>("DATE cs(user-agent) cs(Host)", LIST),
            "date cs(User-Agent) cs-host");
}

TEST(ConfigTypes, cpu_list_prints_ranges) {
  EXPECT_EQ(canonical<ConfigCpuList>("3,1-2 8 9 11", {0, 1024}), "1-3 8-9 11");
  EXPECT_EQ(canonical<ConfigCpuList>("0-1023", {0, 1024}), "0-1023");
  EXPECT_EQ(canonical<ConfigCpuList>("5 5 4-6", {0, 1024}), "4-6");
  expect_refused<ConfigCpuList>({0, 1024}, {"1024", "3-1", "1-", "-1", "a", "0-99999999999"});
}

TEST(ConfigTypes, inherit_is_a_word_and_can_still_be_a_text) {
  using Type = ConfigInherit<ConfigHeaderValue>;
  EXPECT_EQ(Type::parse("inherit", ANY_TEXT).value_or("?"), std::nullopt);
  EXPECT_EQ(canonical<Type>("inherit", ANY_TEXT), "inherit");
  EXPECT_EQ(canonical<Type>("\"inherit\"", ANY_TEXT), "\"inherit\"");
  EXPECT_EQ(Type::parse("\"inherit\"", ANY_TEXT).value_or("?"), "inherit");
  EXPECT_EQ(canonical<ConfigInherit<ConfigCount>>("9", {0, 5}), "!a whole number from 0 to 5, or inherit");
}

TEST(ConfigTypes, map_names_are_checked) {
  for (const std::string_view good : {"X-A", "a", "A_b9"}) EXPECT_TRUE(ConfigHeaderName::check(good)) << good;
  for (const std::string_view bad : {"", "a.b", "a b", "ä", "a:"}) EXPECT_FALSE(ConfigHeaderName::check(bad)) << bad;
  for (const std::string_view good : {"400", "599", "404_3", "404_0", "500_19"})
    EXPECT_TRUE(ConfigStatusName::check(good)) << good;
  for (const std::string_view bad : {"", "200", "600", "4O4", "404_", "404_01", "404_100", "404.3", "40", "4040"}) {
    EXPECT_FALSE(ConfigStatusName::check(bad)) << bad;
  }
  for (const std::string_view good : {"html", "7z", "c++", "x-y"})
    EXPECT_TRUE(ConfigExtensionName::check(good)) << good;
  for (const std::string_view bad : {"", "HTML", "tar.gz", ".a"}) EXPECT_FALSE(ConfigExtensionName::check(bad)) << bad;
}

TEST(ConfigTypes, an_address_range_holds_what_its_bits_say) {
  EXPECT_EQ(canonical<ConfigList<ConfigAddressItem>>("192.0.2.1 10.0.0.0/8 ::1 2001:db8::/33 unix 0.0.0.0/0", LIST),
            "192.0.2.1 10.0.0.0/8 ::1 2001:db8::/33 unix 0.0.0.0/0");
  expect_refused<ConfigList<ConfigAddressItem>>(
      LIST, {"10.0.0.1/8", "10.0.0.0/33", "::1/129", "10.0.0", "example.org", "10.0.0.0/", "10.0.0.0/x", "/8", "*"});
  const auto v4 = [](uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    return std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d};
  };
  const AddressRange some = *ConfigAddressItem::parse_item("10.128.0.0/9");
  EXPECT_TRUE(some.contains(false, v4(10, 128, 3, 4)));
  EXPECT_FALSE(some.contains(false, v4(10, 127, 3, 4)));
  EXPECT_FALSE(some.contains(true, v4(10, 128, 3, 4)));
  const AddressRange any = *ConfigAddressItem::parse_item("0.0.0.0/0");
  EXPECT_TRUE(any.contains(false, v4(255, 1, 1, 1)));
  EXPECT_FALSE(any.contains(false, {1})) << "IPv6";
  const AddressRange local = *ConfigAddressItem::parse_item("unix");
  EXPECT_TRUE(local.contains(true, {}));
  EXPECT_FALSE(local.contains(false, {}));
}

}  // namespace
}  // namespace penstock
