#include "src/http/target.h"

#include "src/base/prng.h"
#include "tests/support/guard_page.h"
#include "tests/unit/http/parse_helper.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

namespace penstock {
namespace {

using enum Reason;
using namespace std::string_literals;

struct Canonical {
  Reason reason;
  std::string path;
};

Canonical canonical(std::string_view raw, const DecodeRules& rules = {}) {
  static GuardedRoom inputs(1 << 16);
  static GuardedRoom outputs(1 << 16);
  const std::string_view input = inputs.place(raw);
  const std::string_view out = outputs.place(std::string(canonical_bytes_max(raw.size(), rules), '?'));
  const CanonicalPath result = canonicalise(input, rules, std::span(const_cast<char*>(out.data()), out.size()));
  return {result.reason, std::string(result.path)};
}

std::string path_of(std::string_view raw, const DecodeRules& rules = {}) {
  const Canonical result = canonical(raw, rules);
  return result.reason == NONE ? result.path : std::string(reason_info(result.reason).name);
}

// The promise of target.h, checked byte by byte.
void expect_canonical_form(const std::string& path, const DecodeRules& rules) {
  ASSERT_TRUE(path.starts_with('/'));
  std::string_view rest = std::string_view(path).substr(1);
  bool more = !rest.empty();
  while (more) {
    const size_t slash = rest.find('/');
    const std::string_view segment = rest.substr(0, slash);
    more = slash != std::string_view::npos;
    rest = more ? rest.substr(slash + 1) : rest;
    EXPECT_NE(segment, ".") << path;
    EXPECT_NE(segment, "..") << path;
    if (more) {
      EXPECT_NE(segment, "") << path;
    }
    if (more && rest.empty()) more = false;
  }
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    EXPECT_NE(byte, 0) << path;
    EXPECT_NE(c, '\\') << path;
    EXPECT_TRUE(rules.restricted_chars || (byte >= 0x20 && byte != 0x7f)) << path;
  }
}

TEST(Target, decodes_and_resolves_once) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"/", "/"},
      {"/a", "/a"},
      {"/a/", "/a/"},
      {"/a%20b", "/a b"},
      {"/%41%42%43", "/ABC"},
      {"/%c3%a4", "/\xc3\xa4"},
      {"/\xc3\xa4", "/\xc3\xa4"},
      {"/%E2%82%AC%F0%9F%98%80", "/\xe2\x82\xac\xf0\x9f\x98\x80"},
      {"//", "/"},
      {"//a///b//", "/a/b/"},
      {"/./a/./b/.", "/a/b/"},
      {"/a/..", "/"},
      {"/a/../", "/"},
      {"/a/b/..", "/a/"},
      {"/a/b/../", "/a/"},
      {"/a/../b", "/b"},
      {"/a/b/../../c", "/c"},
      {"/a//../b", "/b"},
      {"/%61/%2e%2e/b", "/b"},
      {"/a/%2E/b", "/a/b"},
      {"/a/.%2e/b", "/b"},
      {"/...", "/..."},
      {"/a/.../b", "/a/.../b"},
      {"/.hidden", "/.hidden"},
      {"/..a/a..", "/..a/a.."},
      {"/a;b=c/d", "/a;b=c/d"},
      {"/a%3Bb%3Fc%23d", "/a;b?c#d"},
      {"/100%25", "/100%"},
      {"/100%25%20x", "/100% x"},
      {"/%25zz", "/%zz"},
      {"/a+b", "/a+b"},
      {"/%7e", "/~"},
  };
  for (const auto& [raw, expected] : table) EXPECT_EQ(path_of(raw), expected) << raw;
}

TEST(Target, refuses_each_fault_with_its_own_reason) {
  const std::vector<std::pair<std::string, Reason>> table = {
      {"", PATH_NOT_ABSOLUTE},
      {"a", PATH_NOT_ABSOLUTE},
      {"*", PATH_NOT_ABSOLUTE},
      {"%2fa", PATH_NOT_ABSOLUTE},
      {"/%", PERCENT_INVALID},
      {"/%4", PERCENT_INVALID},
      {"/%4g", PERCENT_INVALID},
      {"/%g4", PERCENT_INVALID},
      {"/%%41", PERCENT_INVALID},
      {"/% 41", PERCENT_INVALID},
      {"/%+4", PERCENT_INVALID},
      {"/%u0041", PERCENT_U_REFUSED},
      {"/%U0041", PERCENT_U_REFUSED},
      {"/%u", PERCENT_U_REFUSED},
      {"/%00", NUL_IN_PATH},
      {"/a%00.html", NUL_IN_PATH},
      {"/a\0b"s, NUL_IN_PATH},
      {"/a\\b", BACKSLASH},
      {"/a%5cb", BACKSLASH},
      {"/%5C..%5C", BACKSLASH},
      {"/a%2fb", ENCODED_SLASH},
      {"/%2F", ENCODED_SLASH},
      {"/..", ABOVE_ROOT},
      {"/../", ABOVE_ROOT},
      {"/a/../..", ABOVE_ROOT},
      {"/a/../../b", ABOVE_ROOT},
      {"/./..", ABOVE_ROOT},
      {"//..", ABOVE_ROOT},
      {"/%2e%2e", ABOVE_ROOT},
      {"/..//a", ABOVE_ROOT},
      {"/a/../../a/b", ABOVE_ROOT},
      {"/%80", UTF8_INVALID},
      {"/%c3", UTF8_INVALID},
      {"/%c3/%a4", UTF8_INVALID},
      {"/%e2%82", UTF8_INVALID},
      {"/%ff", UTF8_INVALID},
      {"/%fe%ff", UTF8_INVALID},
      {"/%ed%a0%80", UTF8_INVALID},     // a surrogate
      {"/%f4%90%80%80", UTF8_INVALID},  // beyond U+10FFFF
      {"/%f8%88%80%80%80", UTF8_INVALID},
      {"/\xe4.txt", UTF8_INVALID},
      {"/%c0%af", UTF8_OVERLONG},
      {"/%c1%9c", UTF8_OVERLONG},
      {"/%c0%ae%c0%ae", UTF8_OVERLONG},
      {"/%e0%80%af", UTF8_OVERLONG},
      {"/%e0%9f%bf", UTF8_OVERLONG},
      {"/%f0%80%80%af", UTF8_OVERLONG},
      {"/%f0%8f%bf%bf", UTF8_OVERLONG},
      {"/\xc0\xaf", UTF8_OVERLONG},
      {"/%2541", DOUBLE_ESCAPE},
      {"/%252e%252e/", DOUBLE_ESCAPE},
      {"/%25%34%31", DOUBLE_ESCAPE},
      {"/%25u0041", DOUBLE_ESCAPE},
      {"/%252541", DOUBLE_ESCAPE},
  };
  for (const auto& [raw, reason] : table) EXPECT_EQ(canonical(raw).reason, reason) << raw;
}

TEST(Target, counts_segments_and_their_bytes_at_the_limit) {
  const auto seg = [](size_t n) { return std::string(n, 's'); };
  EXPECT_EQ(canonical("/" + seg(260)).reason, NONE);
  EXPECT_EQ(canonical("/" + seg(261)).reason, SEGMENT_LENGTH);
  EXPECT_EQ(canonical("/a/" + seg(261) + "/b").reason, SEGMENT_LENGTH);
  EXPECT_EQ(canonical("/" + seg(5000), {.segment_bytes = 0}).reason, NONE);
  // Decoded bytes count, not spelt ones.
  std::string escaped = "/";
  for (int i = 0; i < 260; ++i) escaped += "%61";
  EXPECT_EQ(canonical(escaped).reason, NONE);
  EXPECT_EQ(canonical(escaped + "%61").reason, SEGMENT_LENGTH);
  const auto deep = [](size_t n) {
    std::string path;
    while (n-- > 0) path += "/a";
    return path;
  };
  EXPECT_EQ(canonical(deep(255)).reason, NONE);
  EXPECT_EQ(canonical(deep(255) + "/").reason, NONE);
  EXPECT_EQ(canonical(deep(256)).reason, SEGMENT_COUNT);
  EXPECT_EQ(canonical(deep(1000), {.segments = 0}).reason, NONE);
  EXPECT_EQ(canonical("/a/b/c/../d", {.segments = 3}).reason, NONE);
}

// FEATURES RD10: 65 code points, raw and escaped, both settings.
TEST(Target, lets_restricted_characters_through_only_when_told_and_never_nul) {
  for (uint32_t code_point = 0; code_point <= 0x9f; ++code_point) {
    if (code_point == 0x20) code_point = 0x7f;
    std::string utf8;
    if (code_point < 0x80) {
      utf8 += static_cast<char>(code_point);
    } else {
      utf8 += '\xc2';
      utf8 += static_cast<char>(code_point);
    }
    std::string escaped;
    for (const char c : utf8) {
      constexpr std::string_view HEX = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(c);
      escaped += {'%', HEX[byte >> 4], HEX[byte & 15]};
    }
    const DecodeRules strict;
    const DecodeRules lax{.restricted_chars = true};
    const Reason refused = code_point == 0 ? NUL_IN_PATH : RESTRICTED_CHARACTER;
    EXPECT_EQ(canonical("/a" + escaped + "b", strict).reason, refused) << code_point;
    EXPECT_EQ(canonical("/a" + utf8 + "b", strict).reason, refused) << code_point;
    EXPECT_EQ(path_of("/a" + escaped + "b", lax), code_point == 0 ? "NUL_IN_PATH" : "/a" + utf8 + "b");
    // Raw controls of ASCII are refused always; those of C1 are UTF-8 like any other.
    const bool raw_refused = code_point < 0x80;
    EXPECT_EQ(canonical("/a" + utf8 + "b", lax).reason, raw_refused ? refused : NONE) << code_point;
  }
}

// FEATURES RD9.
TEST(Target, reads_percent_u_as_utf16_when_told) {
  const DecodeRules on{.percent_u = true};
  EXPECT_EQ(path_of("/%u0041", on), "/A");
  EXPECT_EQ(path_of("/%U00e4", on), "/\xc3\xa4");
  EXPECT_EQ(path_of("/%u20AC", on), "/\xe2\x82\xac");
  EXPECT_EQ(path_of("/%uD83D%uDE00", on), "/\xf0\x9f\x98\x80");
  EXPECT_EQ(path_of("/%uFF0F", on), "/\xef\xbc\x8f");  // a full-width solidus is no slash
  EXPECT_EQ(path_of("/a/%u002e%u002e/b", on), "/b");
  EXPECT_EQ(path_of("/%u0025zz", on), "/%zz");
  const std::vector<std::pair<std::string, Reason>> refused = {
      {"/%u0000", NUL_IN_PATH},          {"/%u002f", ENCODED_SLASH},           {"/%u005C", BACKSLASH},
      {"/%u0001", RESTRICTED_CHARACTER}, {"/%u0085", RESTRICTED_CHARACTER},    {"/%u", PERCENT_U_INVALID},
      {"/%u004", PERCENT_U_INVALID},     {"/%u00g1", PERCENT_U_INVALID},       {"/%uD83D", SURROGATE_INVALID},
      {"/%uD83Dx", SURROGATE_INVALID},   {"/%uDE00", SURROGATE_INVALID},       {"/%uD83D%uD83D", SURROGATE_INVALID},
      {"/%uD83D%u", PERCENT_U_INVALID},  {"/%uD83D%u0041", SURROGATE_INVALID}, {"/%uDE00%uD83D", SURROGATE_INVALID},
      {"/%u002e%u002e/", ABOVE_ROOT},    {"/%u002541", DOUBLE_ESCAPE},         {"/%c3%u00a4", UTF8_INVALID},
  };
  for (const auto& [raw, reason] : refused) EXPECT_EQ(canonical(raw, on).reason, reason) << raw;
}

// FEATURES RD8.
TEST(Target, reads_a_legacy_character_set_only_when_told) {
  const DecodeRules latin{.non_utf8 = true, .legacy = &ISO_8859_1};
  const DecodeRules windows{.non_utf8 = true};
  EXPECT_EQ(path_of("/%e4.txt"), "UTF8_INVALID");
  EXPECT_EQ(path_of("/%e4.txt", latin), "/\xc3\xa4.txt");
  EXPECT_EQ(path_of("/\xe4.txt", latin), "/\xc3\xa4.txt");
  EXPECT_EQ(path_of("/%80", windows), "/\xe2\x82\xac");       // the euro sign
  EXPECT_EQ(path_of("/%80", latin), "RESTRICTED_CHARACTER");  // U+0080
  EXPECT_EQ(path_of("/%81", windows), "UTF8_INVALID");        // means nothing there
  EXPECT_EQ(path_of("/%c3%a4", latin), "/\xc3\xa4");          // UTF-8 is believed first
  EXPECT_EQ(path_of("/%c3%a4%e4", latin), "/\xc3\x83\xc2\xa4\xc3\xa4");
  EXPECT_EQ(path_of("/%c0%af", latin), "UTF8_OVERLONG");
  EXPECT_EQ(path_of("/" + std::string(80, '\x80'), windows).size(), 241U);
  const DecodeRules both{.non_utf8 = true, .percent_u = true};
  EXPECT_EQ(path_of("/%e4%u00e4", both), "UTF8_INVALID");
}

TEST(Target, lets_double_escapes_through_only_when_told) {
  const DecodeRules on{.double_escape = true};
  EXPECT_EQ(path_of("/%2541", on), "/%41");
  EXPECT_EQ(path_of("/%252e%252e/a", on), "/%2e%2e/a");  // a name, not a parent
}

// Everything that has been used to climb out of a root: each spelling of ".." with each spelling of the slash, deep
// and shallow, with something before it or not. None may escape, and none be understood in two ways.
std::vector<std::string> traversal_corpus() {
  const std::vector<std::string> dots = {"..",
                                         "%2e%2e",
                                         ".%2e",
                                         "%2E.",
                                         "%252e%252e",
                                         "%c0%ae%c0%ae",
                                         "%e0%80%ae%e0%80%ae",
                                         "%u002e%u002e",
                                         "..%00",
                                         "..%01",
                                         ". .",
                                         "...",
                                         "....",
                                         "..;",
                                         "..%20",
                                         "%25%32%65%25%32%65",
                                         "%uff0e%uff0e",
                                         "\xc0\xae\xc0\xae",
                                         "..%ff"};
  const std::vector<std::string> slashes = {"/",
                                            "//",
                                            "/./",
                                            "\\",
                                            "%2f",
                                            "%5c",
                                            "%252f",
                                            "%255c",
                                            "%c0%af",
                                            "%c1%9c",
                                            "%e0%80%af",
                                            "%u2215",
                                            "%u2216",
                                            "%uF025",
                                            "%%32%66",
                                            "%c1%1c",
                                            "%c0%9v",
                                            "%f0%80%80%af",
                                            "%fc%80%80%80%80%af",
                                            "/%2e/",
                                            ";/"};
  const std::vector<std::string> starts = {"/", "/a/", "/a%20b/", "//"};
  std::vector<std::string> corpus;
  for (const std::string& start : starts) {
    for (const std::string& dot : dots) {
      for (const std::string& slash : slashes) {
        corpus.push_back(start + dot + slash + "etc/passwd");
        corpus.push_back(start + dot + slash + dot + slash + dot + slash + "etc" + slash + "passwd");
      }
    }
  }
  return corpus;
}

TEST(Target, lets_none_of_the_traversal_corpus_escape) {
  const std::vector<std::string> corpus = traversal_corpus();
  ASSERT_GE(corpus.size(), 3000U);
  size_t refused = 0;
  for (const bool percent_u : {false, true}) {
    for (const bool non_utf8 : {false, true}) {
      for (const bool lax : {false, true}) {
        const DecodeRules rules{
            .non_utf8 = non_utf8, .percent_u = percent_u, .restricted_chars = lax, .double_escape = lax};
        for (const std::string& raw : corpus) {
          const Canonical result = canonical(raw, rules);
          if (result.reason != NONE) {
            ++refused;
            EXPECT_EQ(reason_status(result.reason) / 100, 4);
            continue;
          }
          expect_canonical_form(result.path, rules);
        }
      }
    }
  }
  EXPECT_GT(refused, corpus.size() * 5);  // most of it is not even a path
}

TEST(Target, resolves_what_it_accepts_of_the_corpus_as_written) {
  EXPECT_EQ(path_of("/a/%2e%2e/etc/passwd"), "/etc/passwd");
  EXPECT_EQ(path_of("/a/..;/etc/passwd"), "/a/..;/etc/passwd");
  EXPECT_EQ(path_of("/a/..../etc/passwd"), "/a/..../etc/passwd");
  EXPECT_EQ(path_of("/a/..%20/etc"), "/a/.. /etc");
  EXPECT_EQ(path_of("/%uff0e%uff0e/x", {.percent_u = true}), "/\xef\xbc\x8e\xef\xbc\x8e/x");
}

TEST(Target, is_idempotent_on_its_own_results) {
  static constexpr std::string_view PIECES[] = {"/",   "/",    "a",   ".",   "..",     "%2e",      "%20",
                                                "%25", "4",    "1",   "%41", "%c3%a4", "\xc3\xa4", "%",
                                                "u",   "0041", "%7e", "b",   "//",     "/."};
  Prng prng(99);
  size_t accepted = 0;
  const int paths = std::getenv("PENSTOCK_TEST_LONG") != nullptr ? 10'000'000 : 50'000;
  for (int n = 0; n < paths; ++n) {
    std::string raw = "/";
    for (uint32_t k = prng.below(12); k > 0; --k) raw += PIECES[prng.below(std::size(PIECES))];
    const Canonical first = canonical(raw);
    if (first.reason != NONE) continue;
    ++accepted;
    std::string room(first.path.size() * 3, '\0');
    const std::string escaped(escape_path(first.path, room));
    EXPECT_EQ(path_of(escaped), first.path) << raw;
    if (first.path.find('%') == std::string::npos) {
      EXPECT_EQ(path_of(first.path), first.path) << raw;
    }
  }
  EXPECT_GT(accepted, 5000U);
}

TEST(Target, recognises_only_paths_that_canonicalise_would_copy) {
  EXPECT_TRUE(is_canonical_ascii("/"));
  EXPECT_TRUE(is_canonical_ascii("/usr/share/doc/index.html"));
  EXPECT_TRUE(is_canonical_ascii("/a/b/"));
  EXPECT_TRUE(is_canonical_ascii("/a.b/c.d"));
  for (const std::string_view raw :
       {"", "a", "//", "/a//b", "/.", "/a/../b", "/.hidden", "/%41", "/a\\b", "/\x7f", "/\xc3\xa4", "/a\tb", "/a/."}) {
    EXPECT_FALSE(is_canonical_ascii(raw)) << raw;
  }
}

TEST(Target, escapes_all_but_what_may_stand_in_a_path) {
  char out[64];
  EXPECT_EQ(escape_path("/a b%\xc3\xa4?#\"<>", out), "/a%20b%25%C3%A4%3F%23%22%3C%3E");
  EXPECT_EQ(escape_path("/a-._~!$&'()*+,;=:@", out), "/a-._~!$&'()*+,;=:@");
  EXPECT_EQ(escape_path("/ab", std::span(out, 2)), "");
  EXPECT_EQ(escape_path("/ ", std::span(out, 3)), "");
  EXPECT_EQ(escape_path("/ ", std::span(out, 4)), "/%20");
}

TEST(Target, writes_nothing_beyond_its_room) {
  char out[4] = {};
  EXPECT_EQ(canonicalise("/abcd", {}, std::span(out, 4)).reason, URL_LENGTH);
  EXPECT_EQ(canonicalise("/abc", {}, std::span(out, 4)).path, "/abc");
  EXPECT_EQ(canonicalise("/\x80zz", {.non_utf8 = true}, std::span(out, 4)).reason, URL_LENGTH);
}

}  // namespace
}  // namespace penstock
