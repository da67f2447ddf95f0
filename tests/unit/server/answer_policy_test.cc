#include "src/server/pools/answer_policy.h"

#include "src/http/date.h"
#include "src/http/request_parser.h"

#include <array>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

constexpr int64_t NOW = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT

struct Asked {
  explicit Asked(const std::string& extra = "", const std::string& method = "GET")
      : text(method + " /a HTTP/1.1\r\nHost: h\r\n" + extra + "\r\n") {
    RequestParser parser;
    EXPECT_EQ(parser.parse(text, {}, head), ParseState::COMPLETE);
  }
  std::string text;
  RequestHead head;
};

using Fields = std::vector<LinkField>;

AnswerPolicy policy_of(const Asked& asked, const Fields& fields, const AnswerSays& says = {},
                       const PolicyDefaults& defaults = {}) {
  AnswerSays all = says;
  all.fields = fields;
  return answer_policy(asked.head, all, defaults, NOW);
}

// Seconds of lifetime left, or the verdict's code.
std::string told(const AnswerPolicy& policy) {
  return policy.keep ? std::to_string(policy.lifetime.s()) : std::string(verdict_code(policy.why));
}
std::string by_cache_control(std::string_view value, const Asked& asked = Asked()) {
  return told(policy_of(asked, {{"Cache-Control", value}}));
}

TEST(AnswerPolicy, follows_cache_control_as_a_shared_cache_does) {
  EXPECT_EQ(told(policy_of(Asked(), {})), "no-lifetime");
  EXPECT_EQ(by_cache_control("max-age=60"), "60");
  EXPECT_EQ(by_cache_control("public, MAX-AGE=\"61\""), "61");
  EXPECT_EQ(by_cache_control("max-age=60, s-maxage=5"), "5");
  EXPECT_EQ(by_cache_control("max-age=60, max-age=7"), "7") << "the more careful one";
  for (const char* forbids : {"private", "no-store", "no-cache", "no-cache=\"X\"", "private=\"X\"", "No-Store"}) {
    EXPECT_EQ(by_cache_control(std::string("max-age=60, ") + forbids), "cache-control") << forbids;
  }
  EXPECT_EQ(told(policy_of(Asked(), {{"Cache-Control", "max-age=60"}, {"cache-control", "private"}})), "cache-control");
  for (const char* none : {"max-age=0", "max-age=-1", "max-age=x", "max-age", "max-age=99999999999999999999999"}) {
    EXPECT_EQ(by_cache_control(none), "no-lifetime") << none;
  }
  EXPECT_EQ(by_cache_control("max-age=9999999999"), std::to_string(365 * 24 * 3600));
}

TEST(AnswerPolicy, understands_expires_date_and_age) {
  const auto with = [](const Fields& fields) { return told(policy_of(Asked(), fields)); };
  EXPECT_EQ(with({{"Expires", "Sun, 06 Nov 1994 08:50:37 GMT"}}), "60");
  EXPECT_EQ(with({{"Expires", "0"}}), "no-lifetime");
  EXPECT_EQ(with({{"Expires", "Sun, 06 Nov 1994 08:00:00 GMT"}}), "no-lifetime");
  EXPECT_EQ(with({{"Expires", "Sun, 06 Nov 1994 08:50:37 GMT"}, {"Cache-Control", "max-age=5"}}), "5");
  EXPECT_EQ(with({{"Cache-Control", "max-age=60"}, {"Age", "20"}}), "40");
  EXPECT_EQ(with({{"Cache-Control", "max-age=60"}, {"Age", "60"}}), "no-lifetime");
  EXPECT_EQ(with({{"Cache-Control", "max-age=60"}, {"Date", "Sun, 06 Nov 1994 08:49:27 GMT"}}), "50") << "apparent age";
  EXPECT_EQ(with({{"Cache-Control", "max-age=60"}, {"Date", "Sun, 06 Nov 1994 09:49:27 GMT"}}), "60") << "a fast clock";
  EXPECT_EQ(with({{"Cache-Control", "max-age=60"}, {"Date", "Sun, 06 Nov 1994 08:49:27 GMT"}, {"Age", "30"}}), "30");
}

TEST(AnswerPolicy, the_workers_word_goes_before_the_fields) {
  const AnswerSays ttl{.ttl_ms = 5'000};
  EXPECT_EQ(told(policy_of(Asked(), {}, ttl)), "5");
  EXPECT_EQ(told(policy_of(Asked(), {{"Cache-Control", "no-store"}}, ttl)), "5") << "that is for those behind us";
  EXPECT_EQ(told(policy_of(Asked("Cookie: a=1\r\n"), {}, ttl)), "5");
  EXPECT_EQ(told(policy_of(Asked(), {{"Vary", "*"}}, ttl)), "vary-star");
  EXPECT_EQ(told(policy_of(Asked("Authorization: Basic eDp5\r\n"), {}, ttl)), "authorization");
  LinkPolicy policy{.revalidate_ms = 7, .error_ms = 8, .vary = {"X-Tier", "Accept"}, .tags = {"b", "a", "b"}};
  const AnswerSays says{.ttl_ms = 5'000, .policy = &policy};
  const AnswerPolicy got = policy_of(Asked(), {{"Cache-Control", "no-store"}, {CACHE_TAG_FIELD, "x"}}, says);
  EXPECT_EQ(told(got), "5");
  EXPECT_EQ(got.vary, (std::vector<std::string>{"accept", "x-tier"}));
  EXPECT_EQ(got.tags, (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(got.stale_while_revalidate, milliseconds(7));
  EXPECT_EQ(got.stale_if_error, milliseconds(8));
  EXPECT_EQ(told(policy_of(Asked(), {{"Vary", "X-Tier"}}, says)), "5") << "it knows that name";
  policy.never = true;
  EXPECT_EQ(told(policy_of(Asked(), {{"Cache-Control", "max-age=60"}}, says)), "worker-forbids");
  policy.never = false;
  EXPECT_EQ(told(policy_of(Asked(), {{"Cache-Control", "max-age=60"}}, {.policy = &policy})), "worker-forbids");
}

TEST(AnswerPolicy, keeps_nothing_that_was_made_for_one_client) {
  const Asked cookie("Cookie: a=1\r\n");
  EXPECT_EQ(by_cache_control("max-age=60", cookie), "cookie");
  EXPECT_EQ(by_cache_control("public, max-age=60", cookie), "60");
  EXPECT_EQ(by_cache_control("s-maxage=7", cookie), "7");
  const Asked credentials("Authorization: Basic eDp5\r\n");  // RFC 9111 section 3.5
  EXPECT_EQ(by_cache_control("max-age=60", credentials), "authorization");
  EXPECT_EQ(by_cache_control("public, max-age=60", credentials), "60");
  EXPECT_EQ(by_cache_control("must-revalidate, max-age=60", credentials), "60");
  EXPECT_EQ(by_cache_control("proxy-revalidate, max-age=60", credentials), "authorization")
      << "says nothing of sharing";
  EXPECT_EQ(by_cache_control("s-maxage=7", credentials), "7");
  EXPECT_EQ(told(policy_of(Asked(), {{"Cache-Control", "public, max-age=60"}, {"Set-Cookie", "a=1"}})), "set-cookie");
  for (const char* field :
       {"X-Forwarded-Host: evil", "Forwarded: host=evil", "X-Original-URL: /b", "x-rewrite-url: /b"}) {
    EXPECT_EQ(by_cache_control("max-age=60", Asked(std::string(field) + "\r\n")), "unkeyed-input") << field;
  }
}

TEST(AnswerPolicy, tells_schemes_apart_that_the_client_names) {
  const Fields fields = {{"Cache-Control", "max-age=60"}, {"Vary", "Origin"}};
  const auto vary_of = [&](const char* scheme) {
    return policy_of(Asked("X-Forwarded-Proto: " + std::string(scheme) + "\r\n"), fields).vary;
  };
  EXPECT_EQ(vary_of("https"), (std::vector<std::string>{"origin", "x-forwarded-proto"}));
  EXPECT_EQ(vary_of("http"), vary_of("https"));
  EXPECT_EQ(policy_of(Asked(), fields).vary, (std::vector<std::string>{"origin"}));
  EXPECT_EQ(told(policy_of(Asked("X-Forwarded-Proto: evil\r\n"), fields)), "unkeyed-input") << "of any value";
}

TEST(AnswerPolicy, keeps_only_whole_answers_to_simple_requests) {
  const Fields fields = {{"Cache-Control", "max-age=60"}};
  for (const uint16_t status : std::to_array<uint16_t>({200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 501})) {
    EXPECT_EQ(told(policy_of(Asked(), fields, {.status = status})), "60") << status;
  }
  for (const uint16_t status :
       std::to_array<uint16_t>({201, 202, 206, 304, 400, 401, 403, 407, 429, 500, 502, 503, 504})) {
    EXPECT_EQ(told(policy_of(Asked(), fields, {.status = status})), "status") << status;
  }
  EXPECT_EQ(told(policy_of(Asked(), {{"Cache-Control", "max-age=60"}, {"Content-Range", "bytes 0-1/2"}})), "status");
  EXPECT_EQ(told(policy_of(Asked("", "HEAD"), fields)), "method");
  EXPECT_EQ(told(policy_of(Asked("Content-Length: 0\r\n", "POST"), fields)), "method");
  EXPECT_EQ(told(policy_of(Asked("Content-Length: 2\r\n"), fields)), "has-body");
  EXPECT_EQ(told(policy_of(Asked("Upgrade: h2c\r\n"), fields)), "condition-unusual");
}

TEST(AnswerPolicy, varies_by_what_can_be_a_key) {
  const auto with = [](std::string_view vary, const Fields& more = {}, const PolicyDefaults& defaults = {}) {
    Fields fields = {{"Cache-Control", "max-age=60"}, {"Vary", vary}};
    fields.insert(fields.end(), more.begin(), more.end());
    return policy_of(Asked(), fields, {}, defaults);
  };
  EXPECT_EQ(with("Accept-Language, accept-encoding,Accept-Language").vary,
            (std::vector<std::string>{"accept-encoding", "accept-language"}));
  EXPECT_EQ(told(with("*")), "vary-star");
  EXPECT_EQ(told(with("Accept, *")), "vary-star");
  EXPECT_EQ(told(with("User-Agent")), "vary-unkeyed");
  EXPECT_EQ(told(with("Cookie")), "vary-unkeyed");
  EXPECT_EQ(told(with("X-Tier")), "vary-unkeyed");
  const std::vector<std::string> leave = {"x-tier", "cookie"};
  EXPECT_EQ(told(with("X-Tier", {}, {.vary = leave})), "60");
  EXPECT_EQ(told(with("Accept, Accept-Encoding, Accept-Language, Accept-Charset, Origin, X-Forwarded-Proto")), "60");
  EXPECT_EQ(told(with("Accept-Encoding", {{"Content-Encoding", "br"}})), "60");
  EXPECT_EQ(told(with("Accept-Encoding", {{"Content-Encoding", "deflate"}})), "encoded");
  EXPECT_EQ(told(with("Accept", {{"Content-Encoding", "gzip"}})), "encoded");
}

TEST(AnswerPolicy, has_a_bound_for_tags) {
  const auto with = [](const Fields& tags) {
    Fields fields = {{"Cache-Control", "max-age=60"}};
    fields.insert(fields.end(), tags.begin(), tags.end());
    return policy_of(Asked(), fields);
  };
  const std::string longest(PENSTOCK_POLICY_TAG_BYTES, 't');
  const std::string too_long = longest + "t";
  EXPECT_EQ(with({{"Cache-Tag", "a, b,,a"}, {"cache-tag", "c:1"}}).tags, (std::vector<std::string>{"a", "b", "c:1"}));
  EXPECT_EQ(told(with({{"Cache-Tag", longest}})), "60");
  EXPECT_EQ(told(with({{"Cache-Tag", too_long}})), "tag-limit");
  EXPECT_EQ(told(with({{"Cache-Tag", "a b"}})), "tag-limit");
  std::string many;
  for (uint32_t i = 0; i < PENSTOCK_POLICY_TAGS_MAX; ++i) many += "t" + std::to_string(i) + ",";
  EXPECT_EQ(told(with({{"Cache-Tag", many}})), "60");
  many += "one-more";
  EXPECT_EQ(told(with({{"Cache-Tag", many}})), "tag-limit");
}

TEST(AnswerPolicy, gives_grace_where_the_answer_or_the_route_says_so) {
  const PolicyDefaults defaults{.stale_while_revalidate = seconds(10), .stale_if_error = seconds(20)};
  const auto graces = [&](std::string_view value, bool by_route) {
    const AnswerPolicy got = policy_of(Asked(), {{"Cache-Control", value}}, {}, by_route ? defaults : PolicyDefaults{});
    return std::to_string(got.stale_while_revalidate.s()) + " " + std::to_string(got.stale_if_error.s());
  };
  EXPECT_EQ(graces("max-age=60", false), "0 0");
  EXPECT_EQ(graces("max-age=60", true), "10 20");
  EXPECT_EQ(graces("max-age=60, stale-while-revalidate=1, stale-if-error=2", true), "1 2");
  EXPECT_EQ(graces("max-age=60, stale-while-revalidate=0", true), "0 20");
  EXPECT_EQ(graces("s-maxage=60", true), "0 0") << "RFC 9111 section 5.2.2.10";
  EXPECT_EQ(graces("s-maxage=60, stale-if-error=2", true), "0 2");
  for (const char* strict : {"must-revalidate", "proxy-revalidate"}) {
    EXPECT_EQ(graces(std::string("max-age=60, stale-while-revalidate=1, ") + strict, true), "0 0") << strict;
  }
}

std::string key(const std::vector<std::string>& names, const std::string& fields) {
  const Asked asked(fields);
  return vary_target("/a", names, asked.head);
}

TEST(VaryKey, is_no_target_that_a_request_can_have) {
  EXPECT_EQ(key({"accept"}, "Accept: x\r\n"), "/a\naccept:=x");
  EXPECT_NE(key({"accept"}, "").find('\n'), std::string::npos);
}

TEST(VaryKey, tells_apart_what_is_different) {
  const std::vector<std::string> names = {"origin", "x-tier"};
  const std::array<std::string, 7> different = {"",
                                                "Origin: a\r\n",
                                                "X-Tier: a\r\n",
                                                "Origin:\r\n",
                                                "X-Tier: A\r\n",
                                                "X-Tier: a\r\nX-Tier: a\r\n",
                                                "Origin: a\r\nX-Tier: a\r\n"};
  for (size_t i = 0; i < different.size(); ++i) {
    for (size_t k = 0; k < i; ++k) EXPECT_NE(key(names, different[i]), key(names, different[k])) << i << " " << k;
  }
  EXPECT_EQ(key(names, "X-Tier: a\r\nX-Tier: b\r\n"), key(names, "x-tier: a,b\r\n")) << "RFC 9110 section 5.3";
}

TEST(VaryKey, is_one_for_what_means_the_same) {
  const std::vector<std::string> names = {"accept-encoding", "accept-language"};
  const std::string one = key(names, "Accept-Encoding: gzip, br\r\nAccept-Language: de, en;q=0.5\r\n");
  EXPECT_EQ(key(names, "Accept-Encoding: br;q=1.0,gzip;q=0.1, deflate\r\nAccept-Language: DE,en; q=0.5\r\n"), one);
  EXPECT_EQ(key(names, "Accept-Encoding: x-gzip, br, foo\r\nAccept-Language: de,en;q=0.5\r\n"), one);
  EXPECT_NE(key(names, "Accept-Encoding: gzip\r\nAccept-Language: de,en;q=0.5\r\n"), one);
  EXPECT_NE(key(names, "Accept-Encoding: gzip, br, identity;q=0\r\nAccept-Language: de,en;q=0.5\r\n"), one);
  EXPECT_NE(key(names, "Accept-Encoding: gzip, br;q=0\r\nAccept-Language: de,en;q=0.5\r\n"), one);
}

}  // namespace
}  // namespace penstock
