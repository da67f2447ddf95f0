#include "tests/unit/cache/world.h"

#include <gtest/gtest.h>

namespace penstock::cache_test {
namespace {

TEST(CachePurge, a_url_takes_effect_before_any_sweep) {
  World w;
  w.put("/a", "1");
  w.put("/ab", "2");
  w.table->purge_url("example.org/a");
  EXPECT_EQ(w.look("/a"), nullptr);
  EXPECT_EQ(w.why, Verdict::PURGED);
  EXPECT_NE(w.look("/ab"), nullptr) << "a URL is not a prefix";
  EXPECT_EQ(w.table->stats().entries, 2u);
  w.upkeep();
  EXPECT_EQ(w.table->stats().entries, 1u);
  EXPECT_EQ(w.look("/a"), nullptr);
  EXPECT_EQ(w.why, Verdict::MISS_FIRST);
}

TEST(CachePurge, a_prefix_takes_all_that_begin_with_it_and_no_more) {
  World w;
  for (const char* target : {"/docs/1", "/docs/2", "/doc", "/other"}) w.put(target, "x");
  w.table->purge_prefix("example.org/docs/");
  EXPECT_EQ(w.look("/docs/1"), nullptr);
  EXPECT_EQ(w.look("/docs/2"), nullptr);
  EXPECT_NE(w.look("/doc"), nullptr);
  EXPECT_NE(w.look("/other"), nullptr);
  w.table->purge_all();
  EXPECT_EQ(w.look("/doc"), nullptr);
  EXPECT_EQ(w.why, Verdict::PURGED);
}

TEST(CachePurge, does_not_concern_what_is_filled_afterwards) {
  World w;
  w.put("/a", "old");
  w.table->purge_all();
  EXPECT_EQ(w.put("/a", "new!"), InsertOutcome::INSERTED);
  ASSERT_NE(w.look("/a"), nullptr);
  w.upkeep();
  ASSERT_NE(w.look("/a"), nullptr);
  EXPECT_EQ(w.look("/a")->pick(0)->body_size, 4u);
}

TEST(CachePurge, a_fill_begun_before_it_does_not_get_in_afterwards) {
  World w;
  Entry* early = w.entry("/a", "read before the purge");
  Entry* unconcerned = w.entry("/b", "read before the purge too");
  w.table->purge_url("example.org/a");
  EXPECT_EQ(w.table->insert(early, w.now), InsertOutcome::STALE);
  EXPECT_EQ(w.table->insert(unconcerned, w.now), InsertOutcome::INSERTED);
  early->unpin();
  unconcerned->unpin();
}

TEST(CachePurge, a_fill_older_than_the_log_remembers_is_refused) {
  World w;
  Entry* early = w.entry("/a", "read long ago");
  w.table->purge_url("example.org/other");
  w.upkeep();  // the purge is swept out and forgotten
  EXPECT_EQ(w.table->insert(early, w.now), InsertOutcome::STALE);
  early->unpin();
}

TEST(CachePurge, more_purges_than_the_log_holds_are_all_obeyed) {
  World w;
  const int many = 3 * static_cast<int>(PurgeLog::RECORDS_MAX);
  for (int i = 0; i < many; ++i) w.put("/" + std::to_string(i), "x");
  for (int i = 0; i < many; i += 2) w.table->purge_url("example.org/" + std::to_string(i));
  for (int i = 0; i < many; ++i) {
    const Entry* found = w.look("/" + std::to_string(i));
    EXPECT_EQ(found == nullptr, i % 2 == 0) << i;
  }
  w.upkeep();
  EXPECT_EQ(w.table->stats().entries, static_cast<uint64_t>(many / 2));
}

TEST(CachePurge, is_obeyed_while_the_table_grows_under_the_sweep) {
  World w;
  for (int i = 0; i < 6000; ++i) w.put("/old/" + std::to_string(i), "x");
  w.table->purge_prefix("example.org/old/");
  (void)w.table->maintain(w.now);  // part of the way
  for (int i = 0; i < 12000; ++i) w.put("/new/" + std::to_string(i), "x");
  w.upkeep();
  EXPECT_EQ(w.table->stats().entries, 12000u);
  EXPECT_EQ(w.table->stats().purged, 6000u);
  w.table->check_invariants();
}

TEST(CachePurge, says_how_many_fell_when_the_sweep_is_over) {
  World w;
  for (int i = 0; i < 500; ++i) w.put("/old/" + std::to_string(i), "x");
  w.put("/other", "x");
  const uint64_t number = w.table->purge_prefix("example.org/old/");
  EXPECT_EQ(w.table->purge_fell(number), std::nullopt) << "nobody has counted yet";
  w.put("/old/1", "filled anew before the sweep came by");
  w.upkeep();
  EXPECT_EQ(w.table->purge_fell(number), 500u);
  EXPECT_EQ(w.table->purge_fell(number + 1), std::nullopt);
  EXPECT_NE(w.look("/old/1"), nullptr);
}

TEST(CachePurge, counts_an_entry_for_one_of_two_purges_that_concern_it) {
  World w;
  w.put("/a", "x");
  w.put("/b", "x");
  const uint64_t url = w.table->purge_url("example.org/a");
  const uint64_t all = w.table->purge_all();
  w.upkeep();
  EXPECT_EQ(w.table->purge_fell(url), 1u);
  EXPECT_EQ(w.table->purge_fell(all), 1u);
}

TEST(CachePurge, refuses_who_will_not_wait_when_too_many_are_not_swept_out) {
  World w;
  w.put("/a", "x");
  for (size_t i = 0; i < PurgeLog::RECORDS_MAX; ++i) {
    EXPECT_NE(w.table->purge(PurgeKind::URL, "example.org/none", PurgeMode::HARD, w.now, false), 0u);
  }
  EXPECT_EQ(w.table->purge(PurgeKind::URL, "example.org/a", PurgeMode::HARD, w.now, false), 0u);
  EXPECT_NE(w.look("/a"), nullptr) << "a refused purge has no effect";
  EXPECT_NE(w.table->purge(PurgeKind::URL, "example.org/a", PurgeMode::HARD, w.now), 0u);
  EXPECT_EQ(w.look("/a"), nullptr);
}

TEST(PurgeLog, answers_for_every_kind_and_mark) {
  PurgeLog log{.number = 12,
               .base = 9,
               .records = {{.number = 10, .kind = PurgeKind::URL, .text = "h/a"},
                           {.number = 11, .kind = PurgeKind::PREFIX, .text = "h/dir/"},
                           {.number = 12, .kind = PurgeKind::URL, .text = "h/b"}}};
  EXPECT_TRUE(log.concerns("h/zzz", 8)) << "older than the records reach";
  EXPECT_TRUE(log.concerns("h/a", 9));
  EXPECT_FALSE(log.concerns("h/a", 10));
  EXPECT_TRUE(log.concerns("h/dir/x", 10));
  EXPECT_FALSE(log.concerns("h/dir/x", 11));
  EXPECT_FALSE(log.concerns("h/b", 12));
}

}  // namespace
}  // namespace penstock::cache_test
