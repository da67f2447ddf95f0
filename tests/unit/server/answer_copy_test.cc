#include "src/server/pools/answer_copy.h"

#include "src/http/request_parser.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

struct Asked {
  explicit Asked(const std::string& extra = "", const std::string& method = "GET")
      : text(method + " /a HTTP/1.1\r\nHost: h\r\n" + extra + "\r\n") {
    RequestParser parser;
    EXPECT_EQ(parser.parse(text, {}, head), ParseState::COMPLETE);
  }
  std::string text;
  RequestHead head;
};

std::optional<int64_t> lifetime_s(const Asked& asked, const std::vector<LinkField>& fields, uint32_t ttl_ms = 0,
                                  uint16_t status = 200) {
  const auto lifetime = answer_lifetime(asked.head, status, fields, ttl_ms);
  return lifetime ? std::optional(lifetime->s()) : std::nullopt;
}

TEST(AnswerLifetime, follows_cache_control_as_a_shared_cache_does) {
  const Asked get;
  EXPECT_EQ(lifetime_s(get, {}), std::nullopt);
  EXPECT_EQ(lifetime_s(get, {{"Cache-Control", "max-age=60"}}), 60);
  EXPECT_EQ(lifetime_s(get, {{"cache-control", "public, MAX-AGE=\"61\""}}), 61);
  EXPECT_EQ(lifetime_s(get, {{"Cache-Control", "max-age=60, s-maxage=5"}}), 5);
  EXPECT_EQ(lifetime_s(get, {{"Cache-Control", "max-age=60"}, {"Cache-Control", "private"}}), std::nullopt);
  EXPECT_EQ(lifetime_s(get, {{"Cache-Control", "no-store, max-age=60"}}), std::nullopt);
  EXPECT_EQ(lifetime_s(get, {{"Cache-Control", "no-cache=\"X\", max-age=60"}}), std::nullopt);
  EXPECT_EQ(lifetime_s(get, {{"Cache-Control", "max-age=0"}}), std::nullopt);
  EXPECT_EQ(lifetime_s(get, {{"Cache-Control", "max-age=-1"}}), std::nullopt);
  EXPECT_EQ(lifetime_s(get, {{"Cache-Control", "max-age=99999999999999999999999"}}), std::nullopt);
  EXPECT_EQ(lifetime_s(get, {{"Cache-Control", "max-age=9999999999"}}), 365 * 24 * 3600);
}

TEST(AnswerLifetime, the_workers_own_word_goes_before_the_fields) {
  EXPECT_EQ(lifetime_s(Asked(), {}, 5000), 5);
  EXPECT_EQ(lifetime_s(Asked(), {{"Cache-Control", "no-store"}}, 5000), 5);  // that is for those behind us
  EXPECT_EQ(lifetime_s(Asked("Cookie: a=1\r\n"), {}, 5000), 5);
}

TEST(AnswerLifetime, keeps_nothing_that_was_made_for_one_client) {
  const std::vector<LinkField> fields = {{"Cache-Control", "max-age=60"}};
  EXPECT_EQ(lifetime_s(Asked("Cookie: a=1\r\n"), fields), std::nullopt);
  EXPECT_EQ(lifetime_s(Asked("Cookie: a=1\r\n"), {{"Cache-Control", "public, max-age=60"}}), 60);
  EXPECT_EQ(lifetime_s(Asked("Cookie: a=1\r\n"), {{"Cache-Control", "s-maxage=7"}}), 7);
  EXPECT_EQ(lifetime_s(Asked("Authorization: Basic eDp5\r\n"), {{"Cache-Control", "public, max-age=60"}}),
            std::nullopt);
  for (const char* name : {"Set-Cookie", "Vary", "content-encoding", "Content-Range"}) {
    EXPECT_EQ(lifetime_s(Asked(), {{name, "x"}}, 5000), std::nullopt) << name;
  }
}

TEST(AnswerLifetime, keeps_only_200_to_a_plain_GET) {
  const std::vector<LinkField> fields = {{"Cache-Control", "max-age=60"}};
  constexpr uint16_t OTHERS[] = {201, 204, 206, 301, 304, 404, 500};
  for (const uint16_t status : OTHERS) {
    EXPECT_EQ(lifetime_s(Asked(), fields, 5000, status), std::nullopt) << status;
  }
  EXPECT_EQ(lifetime_s(Asked("", "HEAD"), fields), std::nullopt);
  EXPECT_EQ(lifetime_s(Asked("Content-Length: 0\r\n", "POST"), fields, 5000), std::nullopt);
  EXPECT_EQ(lifetime_s(Asked("Range: bytes=0-1\r\n"), fields), std::nullopt);
}

struct Stores {
  MemoryLedger ledger;
  BodyStore bodies{ledger, {}};
  AnswerCopy::Made made{.key = {.secure = false, .host = "h", .target = "/a"},
                        .hash = 1,
                        .generation = 3,
                        .canonical = "h/a",
                        .now = {1'000'000'000},
                        .unix_seconds = 784111777};
};

TEST(AnswerCopy, becomes_an_entry_with_its_own_head_that_expires) {
  Stores stores;
  const LinkField fields[] = {{"Content-Type", "text/plain"}, {"ETag", "\"x\""}, {"Connection", "close"}};
  AnswerCopy copy(fields, "X-Site: 1\r\n", seconds(5), PENSTOCK_LENGTH_UNKNOWN, 100);
  EXPECT_TRUE(copy.add("hello "));
  EXPECT_TRUE(copy.add("world"));
  Entry* const entry = copy.finish(stores.made, stores.bodies, stores.ledger);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->expires(), (MonoTime{1'000'000'000} + seconds(5)));
  EXPECT_EQ(entry->canonical(), "h/a");
  EXPECT_EQ(entry->content_type(), "text/plain");
  const Variant* const variant = entry->pick(0);
  ASSERT_NE(variant, nullptr);
  EXPECT_EQ(variant->head(),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\nETag: \"x\"\r\n"
            "X-Site: 1\r\nContent-Length: 11\r\n\r\n");
  EXPECT_EQ(variant->head_304(),
            "HTTP/1.1 304 Not Modified\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"x\"\r\nX-Site: 1\r\n\r\n");
  EXPECT_EQ(variant->etag(), "\"x\"");
  EXPECT_EQ(variant->body->view(), "hello world");
  entry->unpin();
}

TEST(AnswerCopy, is_of_no_use_beyond_its_bound) {
  AnswerCopy copy({}, "", seconds(5), PENSTOCK_LENGTH_UNKNOWN, 10);
  EXPECT_TRUE(copy.add("0123456789"));
  EXPECT_FALSE(copy.add("x"));
}

TEST(AnswerCopy, a_head_that_HTTP_does_not_allow_gives_no_entry) {
  Stores stores;
  const LinkField fields[] = {{"X", "a\r\nSet-Cookie: b"}};
  AnswerCopy copy(fields, "", seconds(5), 0, 10);
  EXPECT_EQ(copy.finish(stores.made, stores.bodies, stores.ledger), nullptr);
}

}  // namespace
}  // namespace penstock
