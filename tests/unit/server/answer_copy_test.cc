#include "src/server/pools/answer_copy.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

AnswerPolicy kept_for(Duration lifetime) {
  AnswerPolicy policy;
  policy.keep = true;
  policy.lifetime = lifetime;
  return policy;
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
  const LinkField fields[] = {
      {"Content-Type", "text/plain"}, {"ETag", "\"x\""}, {"Connection", "close"}, {"Age", "3"}, {"Cache-Tag", "news"}};
  AnswerPolicy policy = kept_for(seconds(5));
  policy.age = seconds(3);
  policy.stale_while_revalidate = seconds(7);
  policy.stale_if_error = seconds(9);
  policy.tags = {"news", "a:1"};
  AnswerCopy copy(policy, 200, fields, "X-Site: 1\r\n", PENSTOCK_LENGTH_UNKNOWN, 100);
  EXPECT_TRUE(copy.add("hello "));
  EXPECT_TRUE(copy.add("world"));
  Entry* const entry = copy.finish(stores.made, stores.bodies, stores.ledger);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->expires(), (MonoTime{1'000'000'000} + seconds(5)));
  EXPECT_EQ(entry->stale_until(), (MonoTime{1'000'000'000} + seconds(12)));
  EXPECT_EQ(entry->error_until(), (MonoTime{1'000'000'000} + seconds(14)));
  EXPECT_EQ(entry->owner_word(), static_cast<uint64_t>((MonoTime{1'000'000'000} - seconds(3)).ns)) << "its age";
  EXPECT_EQ(entry->notes(), "news, a:1");
  ASSERT_EQ(entry->labels().size(), 3U);
  EXPECT_EQ(entry->labels()[0].label, url_label(1));
  EXPECT_EQ(entry->labels()[1].label, tag_label("news", 0));
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
  AnswerCopy copy(kept_for(seconds(5)), 200, {}, "", PENSTOCK_LENGTH_UNKNOWN, 10);
  EXPECT_TRUE(copy.add("0123456789"));
  EXPECT_FALSE(copy.add("x"));
}

TEST(AnswerCopy, a_head_that_HTTP_does_not_allow_gives_no_entry) {
  Stores stores;
  const LinkField fields[] = {{"X", "a\r\nSet-Cookie: b"}};
  AnswerCopy copy(kept_for(seconds(5)), 200, fields, "", 0, 10);
  EXPECT_EQ(copy.finish(stores.made, stores.bodies, stores.ledger), nullptr);
}

TEST(AnswerCopy, keeps_a_status_of_its_own_and_no_304_for_it) {
  Stores stores;
  const LinkField fields[] = {{"ETag", "\"x\""}};
  AnswerCopy copy(kept_for(seconds(5)), 404, fields, "", 0, 10);
  Entry* const entry = copy.finish(stores.made, stores.bodies, stores.ledger);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->status(), 404);
  EXPECT_TRUE(entry->pick(0)->head().starts_with("HTTP/1.1 404 Not Found\r\nDate: "));
  EXPECT_EQ(entry->pick(0)->head_304(), "");
  entry->unpin();
}

TEST(AnswerCopy, that_varies_lies_under_a_key_of_its_own_and_a_marker_leads_to_it) {
  Stores stores;
  AnswerPolicy policy = kept_for(seconds(5));
  policy.vary = {"accept", "x-tier"};
  AnswerCopy copy(policy, 200, {}, "", 0, 10);
  stores.made.target = "/a\naccept:\nx-tier:=1";
  Entry* const entry = copy.finish(stores.made, stores.bodies, stores.ledger);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->key().target, stores.made.target);
  EXPECT_EQ(entry->hash(), hash_key(entry->key(), stores.made.seed));
  EXPECT_EQ(entry->labels()[0].label, url_label(1)) << "both go with their URL";
  entry->unpin();
  Entry* const marker = copy.make_marker(stores.made, policy.vary, {}, stores.ledger);
  ASSERT_NE(marker, nullptr);
  EXPECT_TRUE(marker->is_marker());
  EXPECT_EQ(marker->key().target, "/a");
  EXPECT_EQ(marker->notes(), "accept, x-tier");
  EXPECT_EQ(marker->labels()[0].label, url_label(1));
  EXPECT_EQ(marker->stale_until(), stores.made.now + seconds(5));
  marker->unpin();
}

TEST(VaryLine, names_what_no_field_names) {
  const LinkPolicy policy{.vary = {"Accept", "X-Tier"}};
  EXPECT_EQ(vary_line(nullptr, {}), "");
  EXPECT_EQ(vary_line(&policy, {}), "Vary: Accept, X-Tier\r\n");
  const LinkField some[] = {{"vary", "Origin , x-tier"}};
  EXPECT_EQ(vary_line(&policy, some), "Vary: Accept\r\n");
  const LinkField all[] = {{"Vary", "accept"}, {"Vary", "X-TIER"}};
  EXPECT_EQ(vary_line(&policy, all), "");
}

}  // namespace
}  // namespace penstock
