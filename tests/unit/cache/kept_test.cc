// What lives in the table beyond its lifetime or by more than its URL: graces, markers, labels; and who fills it.
#include "cache/fill.h"
#include "cache/label_purges.h"
#include "cache/pass_list.h"
#include "tests/unit/cache/world.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock::cache_test {
namespace {

struct Kept {
  Duration lifetime = seconds(10);
  Duration stale;
  Duration error;
  std::vector<uint64_t> labels;
  uint32_t group_max = 0;
  bool marker = false;
  std::string_view notes = {};
  uint64_t label_mark = UINT64_MAX;  // as of now
};

struct KeptWorld : World {
  using World::World;
  InsertOutcome keep(std::string_view target, const Kept& how) {
    EntryBuilder builder;
    const std::string head = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
    const std::string canonical = std::string("example.org").append(target);
    Body* made = body("content");
    builder.canonical = canonical;
    builder.key = key_of(target);
    builder.hash = hash_of(target);
    builder.generation = 1;
    builder.purge_mark = table->purge_mark();
    builder.expires = now + how.lifetime;
    builder.stale_until = builder.expires + how.stale;
    builder.error_until = builder.expires + how.error;
    builder.marker = how.marker;
    builder.notes = how.notes;
    builder.group_max = how.group_max;
    builder.label_mark = how.label_mark == UINT64_MAX ? table->label_mark() : how.label_mark;
    for (const uint64_t label : how.labels) builder.labels[builder.label_count++] = label;
    EXPECT_TRUE(how.marker || builder.add({.head = head, .date_offset = 23, .body = made}));
    Entry* const built = builder.build(ledger);
    made->unpin();
    const InsertOutcome outcome = table->insert(built, now);
    built->unpin();
    return outcome;
  }
  const Entry* kept(std::string_view target) { return table->lookup_kept(key_of(target), hash_of(target), 1, now); }
  uint64_t entries() { return table->stats().entries; }
};

TEST(CacheKept, an_entry_is_fresh_up_to_its_last_millisecond_and_not_a_moment_longer) {
  KeptWorld w;
  EXPECT_EQ(w.keep("/a", {.lifetime = milliseconds(1'000)}), InsertOutcome::INSERTED);
  w.now = w.now + milliseconds(1'000) - nanoseconds(1);
  EXPECT_NE(w.look("/a"), nullptr);
  EXPECT_EQ(w.kept("/a"), nullptr) << "who is fresh needs no grace";
  w.now = w.now + nanoseconds(1);
  EXPECT_EQ(w.look("/a"), nullptr);
  EXPECT_EQ(w.why, Verdict::EXPIRED);
  EXPECT_EQ(w.kept("/a"), nullptr);
}

TEST(CacheKept, what_has_a_grace_stays_until_it_ends_through_sweeps) {
  for (const bool for_errors : {false, true}) {
    KeptWorld w;
    const Kept how{.lifetime = seconds(10), .stale = seconds(for_errors ? 0 : 5), .error = seconds(for_errors ? 5 : 0)};
    ASSERT_EQ(w.keep("/a", how), InsertOutcome::INSERTED);
    w.now = w.now + seconds(15) - nanoseconds(1);
    w.table->purge_url("example.org/other");  // makes it sweep
    w.upkeep();
    EXPECT_EQ(w.look("/a"), nullptr);
    const Entry* const entry = w.kept("/a");
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->stale_until() > w.now, !for_errors);
    EXPECT_EQ(entry->error_until() > w.now, for_errors);
    w.now = w.now + nanoseconds(1);
    EXPECT_EQ(w.kept("/a"), nullptr);
    w.table->purge_url("example.org/other");
    w.upkeep();
    EXPECT_EQ(w.entries(), 0U);
    w.table->check_invariants();
  }
}

TEST(CacheKept, no_grace_survives_a_purge_or_another_configuration) {
  KeptWorld w;
  ASSERT_EQ(w.keep("/a", {.stale = seconds(100)}), InsertOutcome::INSERTED);
  w.now = w.now + seconds(20);
  EXPECT_NE(w.kept("/a"), nullptr);
  EXPECT_EQ(w.table->lookup_kept(key_of("/a"), hash_of("/a"), 2, w.now), nullptr);
  w.table->purge_url("example.org/a");
  EXPECT_EQ(w.kept("/a"), nullptr);
}

TEST(CacheKept, a_marker_answers_nothing_and_is_found_as_long_as_it_leads_somewhere) {
  KeptWorld w;
  ASSERT_EQ(w.keep("/a", {.lifetime = {}, .stale = seconds(60), .labels = {1}, .marker = true, .notes = "accept"}),
            InsertOutcome::INSERTED);
  EXPECT_EQ(w.look("/a"), nullptr);
  EXPECT_EQ(w.why, Verdict::EXPIRED);
  ASSERT_NE(w.kept("/a"), nullptr);
  EXPECT_EQ(w.kept("/a")->notes(), "accept");
  EXPECT_EQ(w.table->why(key_of("/a"), hash_of("/a"), 1, w.now).verdict, Verdict::VARIES);
  w.table->purge_url("example.org/other");
  w.upkeep();
  EXPECT_NE(w.kept("/a"), nullptr) << "a sweep is no end";
  w.now = w.now + seconds(60);
  EXPECT_EQ(w.kept("/a"), nullptr);
}

TEST(CacheLabels, a_purge_takes_all_that_carry_it_and_nothing_else) {
  KeptWorld w;
  for (int i = 0; i < 600; ++i) {  // more than one slice
    ASSERT_EQ(w.keep("/news/" + std::to_string(i), {.labels = {7, 100 + static_cast<uint64_t>(i)}}),
              InsertOutcome::INSERTED);
  }
  ASSERT_EQ(w.keep("/other", {.labels = {8}}), InsertOutcome::INSERTED);
  EXPECT_EQ(w.table->purge_label(105), 1U);
  EXPECT_EQ(w.look("/news/5"), nullptr);
  EXPECT_EQ(w.why, Verdict::MISS_FIRST) << "gone, not only marked";
  EXPECT_NE(w.look("/news/6"), nullptr);
  EXPECT_EQ(w.table->purge_label(7), 599U);
  EXPECT_EQ(w.entries(), 1U);
  EXPECT_NE(w.look("/other"), nullptr);
  EXPECT_EQ(w.table->purge_label(7), 0U);
  w.upkeep();
  w.table->check_invariants();
}

TEST(CacheLabels, a_purge_keeps_out_what_was_read_before_it) {
  KeptWorld w;
  const uint64_t before = w.table->label_mark();
  (void)w.table->purge_label(7);
  EXPECT_EQ(w.keep("/a", {.labels = {6, 7}, .label_mark = before}), InsertOutcome::STALE);
  EXPECT_EQ(w.keep("/b", {.labels = {6, 8}, .label_mark = before}), InsertOutcome::INSERTED);
  EXPECT_EQ(w.keep("/c", {.labels = {7}}), InsertOutcome::INSERTED) << "read after it";
  LabelPurges purges;
  for (uint64_t i = 0; i < 3 * LabelPurges::PLACES; ++i) purges.purge(i);
  EXPECT_TRUE(purges.purged_since(5, 0)) << "whatever came since";
}

TEST(CacheLabels, go_with_their_entry) {
  KeptWorld w;
  ASSERT_EQ(w.keep("/a", {.labels = {7}}), InsertOutcome::INSERTED);
  ASSERT_EQ(w.keep("/a", {.labels = {8}}), InsertOutcome::INSERTED);  // in its place
  EXPECT_EQ(w.table->purge_label(7), 0U);
  EXPECT_NE(w.look("/a"), nullptr);
  EXPECT_TRUE(w.table->invalidate(key_of("/a"), hash_of("/a")));
  EXPECT_EQ(w.table->purge_label(8), 0U);
  w.upkeep();
  w.table->check_invariants();
}

TEST(CacheLabels, a_group_has_a_bound_and_the_oldest_leaves) {
  KeptWorld w;
  ASSERT_EQ(w.keep("/a", {.lifetime = {}, .stale = seconds(60), .labels = {1}, .group_max = 3, .marker = true}),
            InsertOutcome::INSERTED);
  for (const char* variant : {"/a1", "/a2", "/a3"}) {
    ASSERT_EQ(w.keep(variant, {.labels = {1}, .group_max = 3}), InsertOutcome::INSERTED);
  }
  EXPECT_EQ(w.entries(), 4U);
  ASSERT_EQ(w.keep("/a4", {.labels = {1}, .group_max = 3}), InsertOutcome::INSERTED);
  EXPECT_EQ(w.entries(), 4U);
  EXPECT_EQ(w.look("/a1"), nullptr);
  EXPECT_NE(w.look("/a4"), nullptr);
  EXPECT_NE(w.kept("/a"), nullptr) << "the marker stays";
  EXPECT_EQ(w.table->why(key_of("/a"), hash_of("/a"), 1, w.now).variants, 3U);
}

TEST(FillTable, lead_never_waits) {
  FillTable fills(1, 1);
  const FillKey a{.key = key_of("/a"), .hash = hash_of("/a")};
  const FillKey b{.key = key_of("/b"), .hash = hash_of("/b")};
  const auto led = fills.lead(a);
  ASSERT_EQ(led.role, FillRole::LEAD);
  EXPECT_EQ(fills.lead(a).role, FillRole::FULL);
  EXPECT_EQ(fills.lead(b).role, FillRole::FULL) << "no room";
  EXPECT_EQ(fills.join(a, {.reactor = 3}).role, FillRole::WAIT) << "others may wait for it";
  std::vector<FillWaiter> waiters;
  fills.complete(led.fill, waiters);
  ASSERT_EQ(waiters.size(), 1U);
  EXPECT_EQ(waiters[0].reactor, 3U);
  EXPECT_EQ(fills.lead(b).role, FillRole::LEAD);
}

TEST(PassList, remembers_for_its_time_and_never_longer) {
  PassList list(4);
  const MonoTime now{1'000};
  EXPECT_FALSE(list.has(5, now));
  list.note(5, now + seconds(1));
  EXPECT_TRUE(list.has(5, now));
  EXPECT_FALSE(list.has(1, now)) << "the same place, another key";
  EXPECT_FALSE(list.has(5, now + seconds(1)));
  list.note(1, now + seconds(1));
  EXPECT_FALSE(list.has(5, now)) << "forgotten early";
  list.forget(5);
  EXPECT_TRUE(list.has(1, now));
  list.forget(1);
  EXPECT_FALSE(list.has(1, now));
}

TEST(CacheKept, a_soft_purge_ends_the_lifetime_and_leaves_the_grace_from_then_on) {
  KeptWorld w;
  w.keep("/graced", {.lifetime = seconds(1000), .stale = seconds(5), .error = seconds(7)});
  w.keep("/plain", {.lifetime = seconds(1000)});
  w.keep("/other", {.lifetime = seconds(1000)});
  EXPECT_EQ(w.table->purge_fell(w.table->purge(PurgeKind::URL, "example.org/other", PurgeMode::SOFT, w.now)),
            std::nullopt);
  const uint64_t number = w.table->purge(PurgeKind::ALL, {}, PurgeMode::SOFT, w.now);
  for (const char* target : {"/graced", "/plain", "/other"}) {
    EXPECT_EQ(w.look(target), nullptr) << target;
    EXPECT_EQ(w.why, Verdict::EXPIRED) << target;
  }
  EXPECT_EQ(w.kept("/plain"), nullptr) << "no grace: as gone as by a hard one";
  ASSERT_NE(w.kept("/graced"), nullptr);
  EXPECT_EQ(w.kept("/graced")->stale_until(), w.now + seconds(5));
  EXPECT_EQ(w.kept("/graced")->error_until(), w.now + seconds(7));
  w.upkeep();
  EXPECT_EQ(w.entries(), 1u) << "what has no grace is swept out";
  EXPECT_EQ(w.table->purge_fell(number), 2u) << "the third fell to the purge before";
  (void)w.table->purge(PurgeKind::ALL, {}, PurgeMode::SOFT, w.now + seconds(3));
  ASSERT_NE(w.kept("/graced"), nullptr);
  EXPECT_EQ(w.kept("/graced")->stale_until(), w.now + seconds(5)) << "a second one lends no more time";
  w.now = w.now + seconds(7);
  EXPECT_EQ(w.kept("/graced"), nullptr);
  w.table->check_invariants();
}

TEST(CacheKept, a_turn_that_began_before_a_soft_purge_does_not_find_it_fresh_after_it) {
  KeptWorld w;
  w.keep("/a", {.lifetime = seconds(1000), .stale = seconds(5)});
  (void)w.table->purge(PurgeKind::ALL, {}, PurgeMode::SOFT, w.now + milliseconds(1));
  EXPECT_EQ(w.look("/a"), nullptr);
}

TEST(CacheKept, a_soft_purge_by_label_ends_the_lifetime_of_all_that_carry_it_and_of_no_other) {
  KeptWorld w;
  for (int i = 0; i < 600; ++i) {
    w.keep("/" + std::to_string(i), {.lifetime = seconds(1000), .stale = seconds(5), .labels = {7}});
  }
  w.keep("/other", {.lifetime = seconds(1000), .labels = {8}});
  EXPECT_EQ(w.table->purge_label(7, PurgeMode::SOFT, w.now), 600u);
  EXPECT_EQ(w.table->purge_label(7, PurgeMode::SOFT, w.now), 0u) << "ended already";
  for (int i = 0; i < 600; ++i) {
    EXPECT_EQ(w.look("/" + std::to_string(i)), nullptr);
    EXPECT_NE(w.kept("/" + std::to_string(i)), nullptr);
  }
  EXPECT_NE(w.look("/other"), nullptr);
  w.table->check_invariants();
}

}  // namespace
}  // namespace penstock::cache_test
