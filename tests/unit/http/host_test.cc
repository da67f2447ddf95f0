#include "src/http/host.h"

#include "src/base/prng.h"
#include "tests/support/guard_page.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

struct Normal {
  HostKind kind;
  std::string name;
  int port;  // -1: none
};

Normal normal(std::string_view text) {
  static GuardedRoom room(1024);
  const std::string_view input = room.place(text);
  char out[HOST_NAME_BYTES_MAX];
  const HostName host = normalise_host(input, out);
  EXPECT_EQ(host.kind != HostKind::INVALID, host_is_valid(input)) << text;
  return {host.kind, std::string(host.name), host.has_port ? host.port : -1};
}

TEST(Host, normalises_names_ports_and_literals) {
  using enum HostKind;
  const std::vector<std::pair<std::string, Normal>> table = {
      {"example.org", {NAME, "example.org", -1}},
      {"EXAMPLE.Org", {NAME, "example.org", -1}},
      {"example.org.", {NAME, "example.org", -1}},
      {"example.org.:80", {NAME, "example.org", 80}},
      {"h:", {NAME, "h", -1}},
      {"h:0", {NAME, "h", 0}},
      {"h:65535", {NAME, "h", 65535}},
      {"h:00080", {NAME, "h", 80}},
      {"a_b.example", {NAME, "a_b.example", -1}},
      {"xn--bcher-kva.example", {NAME, "xn--bcher-kva.example", -1}},
      {"127.0.0.1:8080", {IPV4, "127.0.0.1", 8080}},
      {"255.255.255.255", {IPV4, "255.255.255.255", -1}},
      {"256.1.1.1", {NAME, "256.1.1.1", -1}},
      {"01.1.1.1", {NAME, "01.1.1.1", -1}},
      {"1.2.3", {NAME, "1.2.3", -1}},
      {"[::1]", {IPV6, "[::1]", -1}},
      {"[::]:80", {IPV6, "[::]", 80}},
      {"[0:0:0:0:0:0:0:1]", {IPV6, "[::1]", -1}},
      {"[2001:DB8::1:0:0:1]", {IPV6, "[2001:db8::1:0:0:1]", -1}},
      {"[2001:db8:0:0:1:0:0:1]", {IPV6, "[2001:db8::1:0:0:1]", -1}},
      {"[2001:db8:0:1:1:1:1:1]", {IPV6, "[2001:db8:0:1:1:1:1:1]", -1}},
      {"[1:0:0:2:0:0:0:3]", {IPV6, "[1:0:0:2::3]", -1}},
      {"[1::]", {IPV6, "[1::]", -1}},
      {"[::ffff:192.0.2.1]", {IPV6, "[::ffff:c000:201]", -1}},
      {"[1:2:3:4:5:6:7:8]:443", {IPV6, "[1:2:3:4:5:6:7:8]", 443}},
  };
  for (const auto& [text, expected] : table) {
    const Normal got = normal(text);
    EXPECT_EQ(got.kind, expected.kind) << text;
    EXPECT_EQ(got.name, expected.name) << text;
    EXPECT_EQ(got.port, expected.port) << text;
  }
}

TEST(Host, refuses_what_is_no_host) {
  const std::string label64(64, 'l');
  const std::vector<std::string> table = {"",
                                          ":",
                                          ":80",
                                          ".",
                                          "..",
                                          ".a",
                                          "a..b",
                                          "a..",
                                          "a b",
                                          "a/b",
                                          "a\\b",
                                          "a?b",
                                          "a#b",
                                          "a@b",
                                          "a%41",
                                          "a,b",
                                          "a;b",
                                          "a*b",
                                          "*.example.org",
                                          "\xc3\xa4.example",
                                          "a\tb",
                                          "a:b",
                                          "a:80:80",
                                          "a:-1",
                                          "a:+1",
                                          "a: 80",
                                          "a:65536",
                                          "a:100000",
                                          "a:080808",
                                          "a:8o",
                                          "[",
                                          "[]",
                                          "]",
                                          "[::1",
                                          "::1",
                                          "[::1]x",
                                          "[::1]:x",
                                          "[::1]80",
                                          "[:]",
                                          "[1]",
                                          "[1:2:3:4:5:6:7]",
                                          "[1:2:3:4:5:6:7:8:9]",
                                          "[::1::]",
                                          "[1:2:3:4:5:6:7::8]",
                                          "[12345::]",
                                          "[g::]",
                                          "[::1%25eth0]",
                                          "[::1.2.3]",
                                          "[::1.2.3.4:5]",
                                          "[1.2.3.4]",
                                          "[:1::]",
                                          "[1:]",
                                          "[v1.x]",
                                          label64 + ".a"};
  for (const std::string& text : table) EXPECT_EQ(normal(text).kind, HostKind::INVALID) << text;
}

TEST(Host, limits_names_and_labels_as_dns_does) {
  const std::string label63(63, 'l');
  const std::string name253 = label63 + "." + label63 + "." + label63 + "." + std::string(61, 'l');
  ASSERT_EQ(name253.size(), 253U);
  EXPECT_EQ(normal(name253).kind, HostKind::NAME);
  EXPECT_EQ(normal(name253 + ".:65535").kind, HostKind::NAME);
  EXPECT_EQ(normal(name253 + "l").kind, HostKind::INVALID);
  EXPECT_EQ(normal(label63).kind, HostKind::NAME);
  EXPECT_EQ(normal(label63 + "l").kind, HostKind::INVALID);
}

// The quick look of host_is_valid() must not say yes to anything that the full reading refuses.
TEST(Host, checks_and_normalises_by_the_same_rule) {
  static constexpr std::string_view BYTES = "aZ09-_...:::[]@/% \x80";
  Prng prng(5);
  size_t valid = 0;
  for (int n = 0; n < 100000; ++n) {
    std::string text;
    const uint32_t size = prng.below(prng.one_in(2) ? 12 : 70);
    const uint32_t kinds = prng.one_in(3) ? static_cast<uint32_t>(BYTES.size()) : 7;
    for (uint32_t i = 0; i < size; ++i) text += BYTES[prng.below(kinds)];
    if (prng.one_in(3)) text += ":" + std::to_string(prng.below(100000));
    valid += normal(text).kind != HostKind::INVALID;
  }
  EXPECT_GT(valid, 10000U);
}

TEST(Host, has_one_origin_name_for_all_spellings) {
  for (const char* text : {"a.example", "A.Example", "a.example.", "a.example:80", "A.EXAMPLE.:080", "a.example:"}) {
    EXPECT_EQ(origin_name(text, false), "a.example") << text;
  }
  EXPECT_EQ(origin_name("a.example:443", true), "a.example");
  EXPECT_EQ(origin_name("A.example:443", false), "a.example:443");
  EXPECT_EQ(origin_name("a.example:80", true), "a.example:80");
  EXPECT_EQ(origin_name("[2001:DB8:0::1]:8080", false), "[2001:db8::1]:8080");
  EXPECT_EQ(origin_name("", false), "");
  EXPECT_EQ(origin_name("a b", false), "a b");
}

TEST(Host, normal_form_is_its_own_normal_form) {
  for (const std::string_view text : {"Example.ORG.", "[2001:DB8:0:0:0:0:0:1]", "[::ffff:1.2.3.4]", "10.0.0.1"}) {
    const Normal once = normal(text);
    const Normal twice = normal(once.name);
    EXPECT_EQ(once.name, twice.name);
    EXPECT_EQ(once.kind, twice.kind);
  }
}

}  // namespace
}  // namespace penstock
