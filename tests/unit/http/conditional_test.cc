// FEATURES CR1: the precedence table of RFC 9110 section 13.2.2, case by case.

#include "src/http/conditional.h"

#include "src/http/date.h"
#include "tests/unit/http/parse_helper.h"

#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

namespace penstock {
namespace {

constexpr int64_t MODIFIED = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
constexpr int64_t NOW = MODIFIED + 1000;

struct Conditional {
  std::string_view method;
  std::string_view representation;  // what validators there are, see validators_of()
  std::string_view fields;          // IM If-Match, INM If-None-Match, IUS If-Unmodified-Since, ..., R Range
  int status;                       // 200: proceed; 206: proceed, Range honoured
};

// Entity tags A, B and their weak forms wA, wB; dates one second before, at and after the Last-Modified.
constexpr Conditional CONDITIONALS[] = {
    {"GET", "strong", "", 200},
    {"GET", "strong", "R:x", 206},
    {"HEAD", "strong", "", 200},
    {"HEAD", "strong", "R:x", 200},
    {"POST", "strong", "", 200},
    {"POST", "strong", "R:x", 200},
    {"PUT", "strong", "", 200},
    {"PUT", "strong", "R:x", 200},
    {"DELETE", "strong", "", 200},
    {"DELETE", "strong", "R:x", 200},
    {"GET", "strong", "IM:A", 200},
    {"GET", "strong", "INM:A", 304},
    {"GET", "strong", "IM:B", 412},
    {"GET", "strong", "INM:B", 200},
    {"GET", "strong", "IM:wA", 412},
    {"GET", "strong", "INM:wA", 304},
    {"GET", "strong", "IM:wB", 412},
    {"GET", "strong", "INM:wB", 200},
    {"GET", "strong", "IM:*", 200},
    {"GET", "strong", "INM:*", 304},
    {"GET", "strong", "IM:B,A", 200},
    {"GET", "strong", "INM:B,A", 304},
    {"GET", "strong", "IM:B,wA", 412},
    {"GET", "strong", "INM:B,wA", 304},
    {"GET", "weak", "IM:A", 412},
    {"GET", "weak", "INM:A", 304},
    {"GET", "weak", "IM:B", 412},
    {"GET", "weak", "INM:B", 200},
    {"GET", "weak", "IM:wA", 412},
    {"GET", "weak", "INM:wA", 304},
    {"GET", "weak", "IM:wB", 412},
    {"GET", "weak", "INM:wB", 200},
    {"GET", "weak", "IM:*", 200},
    {"GET", "weak", "INM:*", 304},
    {"GET", "weak", "IM:B,A", 412},
    {"GET", "weak", "INM:B,A", 304},
    {"GET", "weak", "IM:B,wA", 412},
    {"GET", "weak", "INM:B,wA", 304},
    {"GET", "tagless", "IM:A", 412},
    {"GET", "tagless", "INM:A", 200},
    {"GET", "tagless", "IM:B", 412},
    {"GET", "tagless", "INM:B", 200},
    {"GET", "tagless", "IM:wA", 412},
    {"GET", "tagless", "INM:wA", 200},
    {"GET", "tagless", "IM:wB", 412},
    {"GET", "tagless", "INM:wB", 200},
    {"GET", "tagless", "IM:*", 200},
    {"GET", "tagless", "INM:*", 304},
    {"GET", "tagless", "IM:B,A", 412},
    {"GET", "tagless", "INM:B,A", 200},
    {"GET", "tagless", "IM:B,wA", 412},
    {"GET", "tagless", "INM:B,wA", 200},
    {"GET", "missing", "IM:A", 412},
    {"GET", "missing", "INM:A", 200},
    {"GET", "missing", "IM:B", 412},
    {"GET", "missing", "INM:B", 200},
    {"GET", "missing", "IM:wA", 412},
    {"GET", "missing", "INM:wA", 200},
    {"GET", "missing", "IM:wB", 412},
    {"GET", "missing", "INM:wB", 200},
    {"GET", "missing", "IM:*", 412},
    {"GET", "missing", "INM:*", 200},
    {"GET", "missing", "IM:B,A", 412},
    {"GET", "missing", "INM:B,A", 200},
    {"GET", "missing", "IM:B,wA", 412},
    {"GET", "missing", "INM:B,wA", 200},
    {"HEAD", "strong", "IM:A", 200},
    {"HEAD", "strong", "INM:A", 304},
    {"HEAD", "strong", "IM:B", 412},
    {"HEAD", "strong", "INM:B", 200},
    {"HEAD", "strong", "IM:wA", 412},
    {"HEAD", "strong", "INM:wA", 304},
    {"HEAD", "strong", "IM:*", 200},
    {"HEAD", "strong", "INM:*", 304},
    {"HEAD", "missing", "IM:*", 412},
    {"HEAD", "missing", "INM:*", 200},
    {"PUT", "strong", "IM:A", 200},
    {"PUT", "strong", "INM:A", 412},
    {"PUT", "strong", "IM:B", 412},
    {"PUT", "strong", "INM:B", 200},
    {"PUT", "strong", "IM:wA", 412},
    {"PUT", "strong", "INM:wA", 412},
    {"PUT", "strong", "IM:*", 200},
    {"PUT", "strong", "INM:*", 412},
    {"PUT", "missing", "IM:*", 412},
    {"PUT", "missing", "INM:*", 200},
    {"GET", "strong", "IUS:old", 412},
    {"GET", "strong", "IMS:old", 200},
    {"GET", "strong", "IUS:same", 200},
    {"GET", "strong", "IMS:same", 304},
    {"GET", "strong", "IUS:new", 200},
    {"GET", "strong", "IMS:new", 304},
    {"GET", "strong", "IUS:bad", 200},
    {"GET", "strong", "IMS:bad", 200},
    {"GET", "dateless", "IUS:old", 200},
    {"GET", "dateless", "IMS:old", 200},
    {"GET", "dateless", "IUS:same", 200},
    {"GET", "dateless", "IMS:same", 200},
    {"GET", "dateless", "IUS:new", 200},
    {"GET", "dateless", "IMS:new", 200},
    {"GET", "dateless", "IUS:bad", 200},
    {"GET", "dateless", "IMS:bad", 200},
    {"GET", "bare", "IUS:old", 200},
    {"GET", "bare", "IMS:old", 200},
    {"GET", "bare", "IUS:same", 200},
    {"GET", "bare", "IMS:same", 200},
    {"GET", "bare", "IUS:new", 200},
    {"GET", "bare", "IMS:new", 200},
    {"GET", "bare", "IUS:bad", 200},
    {"GET", "bare", "IMS:bad", 200},
    {"HEAD", "strong", "IUS:old", 412},
    {"HEAD", "strong", "IMS:old", 200},
    {"HEAD", "strong", "IUS:same", 200},
    {"HEAD", "strong", "IMS:same", 304},
    {"HEAD", "strong", "IUS:new", 200},
    {"HEAD", "strong", "IMS:new", 304},
    {"POST", "strong", "IUS:old", 412},
    {"POST", "strong", "IMS:old", 200},
    {"POST", "strong", "IUS:same", 200},
    {"POST", "strong", "IMS:same", 200},
    {"POST", "strong", "IUS:new", 200},
    {"POST", "strong", "IMS:new", 200},
    {"PUT", "strong", "IUS:old", 412},
    {"PUT", "strong", "IMS:old", 200},
    {"PUT", "strong", "IUS:same", 200},
    {"PUT", "strong", "IMS:same", 200},
    {"PUT", "strong", "IUS:new", 200},
    {"PUT", "strong", "IMS:new", 200},
    {"GET", "strong", "IM:A IUS:old", 200},
    {"GET", "strong", "IM:A IUS:new", 200},
    {"GET", "strong", "IM:B IUS:old", 412},
    {"GET", "strong", "IM:B IUS:new", 412},
    {"GET", "strong", "INM:A IMS:old", 304},
    {"GET", "strong", "INM:A IMS:same", 304},
    {"GET", "strong", "INM:A IMS:new", 304},
    {"GET", "strong", "INM:A IMS:bad", 304},
    {"GET", "strong", "INM:B IMS:old", 200},
    {"GET", "strong", "INM:B IMS:same", 200},
    {"GET", "strong", "INM:B IMS:new", 200},
    {"GET", "strong", "INM:B IMS:bad", 200},
    {"GET", "strong", "INM:wA IMS:old", 304},
    {"GET", "strong", "INM:wA IMS:same", 304},
    {"GET", "strong", "INM:wA IMS:new", 304},
    {"GET", "strong", "INM:wA IMS:bad", 304},
    {"GET", "strong", "IM:A INM:A", 304},
    {"PUT", "strong", "IM:A INM:A", 412},
    {"GET", "strong", "IM:A INM:B", 200},
    {"PUT", "strong", "IM:A INM:B", 200},
    {"GET", "strong", "IM:A INM:*", 304},
    {"PUT", "strong", "IM:A INM:*", 412},
    {"GET", "strong", "IM:B INM:A", 412},
    {"PUT", "strong", "IM:B INM:A", 412},
    {"GET", "strong", "IM:B INM:B", 412},
    {"PUT", "strong", "IM:B INM:B", 412},
    {"GET", "strong", "IM:B INM:*", 412},
    {"PUT", "strong", "IM:B INM:*", 412},
    {"GET", "strong", "IM:* INM:A", 304},
    {"PUT", "strong", "IM:* INM:A", 412},
    {"GET", "strong", "IM:* INM:B", 200},
    {"PUT", "strong", "IM:* INM:B", 200},
    {"GET", "strong", "IM:* INM:*", 304},
    {"PUT", "strong", "IM:* INM:*", 412},
    {"GET", "strong", "IUS:old IMS:old", 412},
    {"GET", "strong", "IUS:old IMS:new", 412},
    {"GET", "strong", "IUS:new IMS:old", 200},
    {"GET", "strong", "IUS:new IMS:new", 304},
    {"GET", "strong", "R:x IR:A", 206},
    {"GET", "strong", "R:x IR:B", 200},
    {"GET", "strong", "R:x IR:wA", 200},
    {"GET", "strong", "R:x IR:old", 200},
    {"GET", "strong", "R:x IR:same", 206},
    {"GET", "strong", "R:x IR:new", 200},
    {"GET", "strong", "R:x IR:bad", 200},
    {"GET", "weak", "R:x IR:A", 200},
    {"GET", "weak", "R:x IR:B", 200},
    {"GET", "weak", "R:x IR:wA", 200},
    {"GET", "weak", "R:x IR:old", 200},
    {"GET", "weak", "R:x IR:same", 206},
    {"GET", "weak", "R:x IR:new", 200},
    {"GET", "weak", "R:x IR:bad", 200},
    {"GET", "tagless", "R:x IR:A", 200},
    {"GET", "tagless", "R:x IR:B", 200},
    {"GET", "tagless", "R:x IR:wA", 200},
    {"GET", "tagless", "R:x IR:old", 200},
    {"GET", "tagless", "R:x IR:same", 206},
    {"GET", "tagless", "R:x IR:new", 200},
    {"GET", "tagless", "R:x IR:bad", 200},
    {"GET", "bare", "R:x IR:A", 200},
    {"GET", "bare", "R:x IR:B", 200},
    {"GET", "bare", "R:x IR:wA", 200},
    {"GET", "bare", "R:x IR:old", 200},
    {"GET", "bare", "R:x IR:same", 200},
    {"GET", "bare", "R:x IR:new", 200},
    {"GET", "bare", "R:x IR:bad", 200},
    {"HEAD", "strong", "R:x IR:A", 200},
    {"GET", "strong", "IR:A", 200},
    {"GET", "strong", "IR:B", 200},
    {"GET", "strong", "INM:A R:x IR:A", 304},
    {"GET", "strong", "INM:A R:x IR:B", 304},
    {"GET", "strong", "INM:B R:x IR:A", 206},
    {"GET", "strong", "INM:B R:x IR:B", 200},
    {"GET", "strong", "IM:A R:x IR:A", 206},
    {"GET", "strong", "IM:A R:x IR:B", 200},
    {"GET", "strong", "IM:B R:x IR:A", 412},
    {"GET", "strong", "IM:B R:x IR:B", 412},
    {"GET", "strong", "IMS:same R:x", 304},
    {"GET", "strong", "IMS:old R:x", 206},
    {"GET", "strong", "IUS:old R:x", 412},
    {"GET", "strong", "IM:B IUS:new INM:A IMS:same R:x IR:A", 412},
    {"GET", "strong", "IM:A IUS:old INM:B IMS:same R:x IR:A", 206},
};
static_assert(std::size(CONDITIONALS) >= 120);

Validators validators_of(std::string_view representation) {
  if (representation == "strong") return {.etag = "\"A\"", .last_modified = MODIFIED};
  if (representation == "weak") return {.etag = "W/\"A\"", .last_modified = MODIFIED};
  if (representation == "tagless") return {.etag = {}, .last_modified = MODIFIED};
  if (representation == "dateless") return {.etag = "\"A\"", .last_modified = std::nullopt};
  if (representation == "bare") return {.etag = {}, .last_modified = std::nullopt};
  return {.exists = false, .etag = {}, .last_modified = std::nullopt};
}

std::string http_date(int64_t seconds) {
  char text[HTTP_DATE_BYTES];
  write_http_date(seconds, text);
  return {text, sizeof text};
}

// "B,wA" as "\"B\", W/\"A\"".
std::string value_of(std::string_view word) {
  static const std::map<std::string_view, std::string> VALUES = {
      {"*", "*"},
      {"A", "\"A\""},
      {"B", "\"B\""},
      {"wA", "W/\"A\""},
      {"wB", "W/\"B\""},
      {"old", http_date(MODIFIED - 1)},
      {"same", http_date(MODIFIED)},
      {"new", http_date(MODIFIED + 1)},
      {"bad", "yesterday"},
      {"x", "bytes=0-1"},
  };
  const size_t comma = word.find(',');
  if (comma == std::string_view::npos) return VALUES.at(word);
  return VALUES.at(word.substr(0, comma)) + ", " + value_of(word.substr(comma + 1));
}

std::string request_of(const Conditional& row) {
  static const std::map<std::string_view, std::string_view> NAMES = {
      {"IM", "If-Match"},           {"INM", "If-None-Match"}, {"IUS", "If-Unmodified-Since"},
      {"IMS", "If-Modified-Since"}, {"IR", "If-Range"},       {"R", "Range"}};
  std::string text = std::string(row.method) + " / HTTP/1.1\r\nHost: h\r\n";
  std::string_view rest = row.fields;
  while (!rest.empty()) {
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    const size_t colon = word.find(':');
    text += std::string(NAMES.at(word.substr(0, colon))) + ": " + value_of(word.substr(colon + 1)) + "\r\n";
  }
  return text + "\r\n";
}

int status_of(const ConditionalVerdict& verdict) {
  switch (verdict.outcome) {
    case Precondition::NOT_MODIFIED:
      return 304;
    case Precondition::FAILED:
      return 412;
    case Precondition::PROCEED:
      break;
  }
  return verdict.honour_range ? 206 : 200;
}

ConditionalVerdict evaluate(std::string_view fields, const Validators& validators, std::string_view method = "GET",
                            int64_t now = NOW) {
  const Parsed parsed = parse_text(std::string(method) + " / HTTP/1.1\r\nHost: h\r\n" + std::string(fields) + "\r\n");
  EXPECT_EQ(parsed.state, ParseState::COMPLETE);
  return evaluate_conditional(parsed.head, validators, now);
}

TEST(Conditional, follows_the_precedence_table) {
  for (const Conditional& row : CONDITIONALS) {
    const Parsed parsed = parse_text(request_of(row));
    ASSERT_EQ(parsed.state, ParseState::COMPLETE);
    const ConditionalVerdict verdict = evaluate_conditional(parsed.head, validators_of(row.representation), NOW);
    EXPECT_EQ(status_of(verdict), row.status) << row.method << ' ' << row.representation << ' ' << row.fields;
  }
}

TEST(Conditional, reads_lists_over_several_lines) {
  const Validators validators = validators_of("strong");
  EXPECT_EQ(status_of(evaluate("If-None-Match: \"X\"\r\nIf-None-Match: \"A\"\r\n", validators)), 304);
  EXPECT_EQ(status_of(evaluate("If-Match: \"X\"\r\nIf-Match: \"A\"\r\n", validators)), 200);
  EXPECT_EQ(status_of(evaluate("If-Match: \"X\"\r\nIf-Match: \"Y\"\r\n", validators)), 412);
}

TEST(Conditional, reads_a_malformed_list_as_far_as_it_goes) {
  const Validators validators = validators_of("strong");
  const auto weakly = [&](std::string_view list) { return etag_list_matches(list, validators, EtagComparison::WEAK); };
  EXPECT_TRUE(weakly("\"A\", junk"));
  EXPECT_TRUE(weakly(" , ,\"A\" ,"));
  EXPECT_TRUE(weakly("\"x,y\", \"A\""));
  EXPECT_TRUE(weakly(" * "));
  EXPECT_FALSE(weakly(""));
  EXPECT_FALSE(weakly("A"));
  EXPECT_FALSE(weakly("junk, \"A\""));
  EXPECT_FALSE(weakly("\"X\" \"A\""));
  EXPECT_FALSE(weakly("\"A"));
  EXPECT_FALSE(weakly("w/\"A\""));
  EXPECT_FALSE(weakly("\"a\""));
  EXPECT_FALSE(weakly("*, \"X\""));
}

TEST(Conditional, takes_a_repeated_date_for_none) {
  const Validators validators = validators_of("strong");
  const std::string line = "If-Modified-Since: " + http_date(MODIFIED) + "\r\n";
  EXPECT_EQ(status_of(evaluate(line, validators)), 304);
  EXPECT_EQ(status_of(evaluate(line + line, validators)), 200);
  const std::string unmodified = "If-Unmodified-Since: " + http_date(MODIFIED - 9) + "\r\n";
  EXPECT_EQ(status_of(evaluate(unmodified, validators)), 412);
  EXPECT_EQ(status_of(evaluate(unmodified + unmodified, validators)), 200);
}

TEST(Conditional, honours_no_repeated_range_or_if_range) {
  const Validators validators = validators_of("strong");
  EXPECT_EQ(status_of(evaluate("Range: bytes=0-1\r\nRange: bytes=0-1\r\n", validators)), 200);
  EXPECT_EQ(status_of(evaluate("Range: bytes=0-1\r\nIf-Range: \"A\"\r\nIf-Range: \"A\"\r\n", validators)), 200);
}

TEST(Conditional, takes_a_date_of_this_very_second_for_weak) {
  const Validators validators = validators_of("strong");
  const std::string fields = "Range: bytes=0-1\r\nIf-Range: " + http_date(MODIFIED) + "\r\n";
  EXPECT_EQ(status_of(evaluate(fields, validators, "GET", MODIFIED + 1)), 206);
  EXPECT_EQ(status_of(evaluate(fields, validators, "GET", MODIFIED)), 200);
}

TEST(Conditional, compares_tags_strongly_and_weakly) {
  EXPECT_TRUE(etag_strong_equal("\"1\"", "\"1\""));
  EXPECT_FALSE(etag_strong_equal("W/\"1\"", "W/\"1\""));
  EXPECT_FALSE(etag_strong_equal("W/\"1\"", "\"1\""));
  EXPECT_FALSE(etag_strong_equal("", ""));
  EXPECT_TRUE(etag_weak_equal("W/\"1\"", "W/\"1\""));
  EXPECT_TRUE(etag_weak_equal("W/\"1\"", "\"1\""));
  EXPECT_FALSE(etag_weak_equal("W/\"1\"", "\"2\""));
  EXPECT_FALSE(etag_weak_equal("", ""));
}

}  // namespace
}  // namespace penstock
