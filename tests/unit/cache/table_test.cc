#include "src/base/prng.h"
#include "tests/unit/cache/world.h"

#include <gtest/gtest.h>
#include <map>

namespace penstock::cache_test {
namespace {

TEST(CacheTable, finds_what_was_inserted_and_only_by_its_whole_key) {
  World w;
  ASSERT_EQ(w.put("/a", "alpha"), InsertOutcome::INSERTED);
  const Entry* entry = w.look("/a");
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(w.why, Verdict::HIT);
  const Variant* variant = entry->pick(0);
  EXPECT_EQ(std::string_view(variant->body_data, variant->body_size), "alpha");

  EXPECT_EQ(w.look("/b"), nullptr);
  EXPECT_EQ(w.why, Verdict::MISS_FIRST);
  const KeyView other_host{.secure = false, .host = "example.com", .target = "/a"};
  EXPECT_EQ(w.table->lookup(0, other_host, hash_key(other_host, SEED), 1, w.now, w.why), nullptr);
  const KeyView secure{.secure = true, .host = "example.org", .target = "/a"};
  EXPECT_EQ(w.table->lookup(0, secure, hash_key(secure, SEED), 1, w.now, w.why), nullptr);
}

TEST(CacheTable, does_not_trust_the_hash_alone) {
  World w;
  ASSERT_EQ(w.put("/a", "alpha"), InsertOutcome::INSERTED);
  // The same hash claimed for other keys: only the very key may hit.
  const KeyView shifted{.secure = false, .host = "example.org/", .target = "a"};
  EXPECT_EQ(w.table->lookup(0, shifted, hash_of("/a"), 1, w.now, w.why), nullptr);
  EXPECT_EQ(w.table->lookup(0, key_of("/b"), hash_of("/a"), 1, w.now, w.why), nullptr);
}

TEST(CacheTable, bumping_a_cell_makes_every_dependent_entry_stale_at_once) {
  World w;
  const Validity cell = w.validity.allocate();
  ASSERT_NE(cell.cell, 0u);
  w.put("/a", "1", 1, cell);
  w.put("/b", "2", 1, cell);
  w.put("/c", "3");
  w.validity.bump(cell.cell);
  EXPECT_EQ(w.look("/a"), nullptr);
  EXPECT_EQ(w.why, Verdict::STALE_FILE);
  EXPECT_EQ(w.look("/b"), nullptr);
  EXPECT_NE(w.look("/c"), nullptr);
}

TEST(CacheTable, refuses_a_fill_whose_file_changed_meanwhile) {
  World w;
  const Validity before = w.validity.allocate();
  w.validity.bump(before.cell);
  EXPECT_EQ(w.put("/a", "read before the change", 1, before), InsertOutcome::STALE);
  EXPECT_EQ(w.look("/a"), nullptr);
}

TEST(CacheTable, an_entry_of_another_configuration_is_stale) {
  World w;
  w.put("/a", "1", 1);
  EXPECT_EQ(w.look("/a", 2), nullptr);
  EXPECT_EQ(w.why, Verdict::STALE_CONFIG);
  EXPECT_EQ(w.put("/a", "2", 2), InsertOutcome::INSERTED);
  EXPECT_NE(w.look("/a", 2), nullptr);
  // A fill that began under the old configuration comes late.
  EXPECT_EQ(w.put("/a", "1", 1), InsertOutcome::STALE);
  EXPECT_NE(w.look("/a", 2), nullptr);
}

TEST(CacheTable, an_entry_expires_at_its_time) {
  World w;
  w.put("/a", "1", 1, {}, w.now + seconds(5));
  w.now = w.now + seconds(5) - nanoseconds(1);
  EXPECT_NE(w.look("/a"), nullptr);
  w.now = w.now + nanoseconds(1);
  EXPECT_EQ(w.look("/a"), nullptr);
  EXPECT_EQ(w.why, Verdict::EXPIRED);
}

TEST(CacheTable, a_second_insert_of_a_key_takes_its_place) {
  World w;
  w.put("/a", "old");
  w.put("/a", "new!");
  EXPECT_EQ(w.look("/a")->pick(0)->body_size, 4u);
  EXPECT_EQ(w.table->stats().entries, 1u);
  EXPECT_EQ(w.table->stats().replaced, 1u);
}

TEST(CacheTable, replace_adds_a_variant_and_shares_the_body) {
  World w;
  w.put("/a", "a long text, a long text, a long text");
  const Entry* plain = w.look("/a");
  Body* small = w.body("gz");
  EntryBuilder builder = EntryBuilder::from(*plain);
  ASSERT_TRUE(builder.add({.coding = Coding::GZIP, .head = "H\r\n\r\n", .body = small}));
  Entry* both = builder.build(w.ledger);
  small->unpin();
  const uint64_t before = w.ledger.cached();
  ASSERT_EQ(w.table->replace(plain, both, w.now), InsertOutcome::INSERTED);
  EXPECT_EQ(w.ledger.cached(), before - plain->charge() + both->charge() + both->variant(Coding::GZIP)->body->charge());
  both->unpin();
  const Entry* found = w.look("/a");
  EXPECT_EQ(found->pick(0)->coding, Coding::IDENTITY);
  EXPECT_EQ(found->pick(ACCEPT_GZIP)->coding, Coding::GZIP);
  EXPECT_EQ(found->pick(ACCEPT_BR)->coding, Coding::IDENTITY);
  EXPECT_EQ(found->pick(0)->body, plain->pick(0)->body);
  w.table->check_invariants();
}

TEST(CacheTable, replace_of_something_that_left_says_gone) {
  World w;
  w.put("/a", "a");
  const Entry* old = w.look("/a");
  old->pin();
  Entry* fresh = w.entry("/a", "b");
  ASSERT_TRUE(w.table->invalidate(key_of("/a"), hash_of("/a")));
  EXPECT_EQ(w.table->replace(old, fresh, w.now), InsertOutcome::GONE);
  EXPECT_EQ(w.look("/a"), nullptr);
  fresh->unpin();
  old->unpin();
}

TEST(CacheTable, lends_an_entry_until_the_reactor_is_quiescent) {
  World w;
  w.put("/a", "alpha");
  const Entry* lent = w.look("/a");
  w.table->invalidate(key_of("/a"), hash_of("/a"));
  w.table->quiescent(1);
  (void)w.table->maintain(w.now);
  EXPECT_EQ(w.table->stats().retired, 1u);  // reactor 0 may still read it
  EXPECT_EQ(std::string_view(lent->pick(0)->body_data, 5), "alpha");
  w.table->quiescent(0);
  (void)w.table->maintain(w.now);
  EXPECT_EQ(w.table->stats().retired, 0u);
  EXPECT_EQ(w.ledger.transient(), 0u);
}

TEST(CacheTable, a_pinned_entry_outlives_its_removal_and_counts_as_transient) {
  World w;
  w.put("/a", "alpha");
  const Entry* held = w.look("/a");
  held->pin();
  w.table->invalidate(key_of("/a"), hash_of("/a"));
  w.upkeep();
  EXPECT_EQ(w.ledger.transient(), held->charge_with_bodies());
  EXPECT_EQ(std::string_view(held->pick(0)->body_data, 5), "alpha");
  held->unpin();
  EXPECT_EQ(w.ledger.transient(), 0u);
  EXPECT_EQ(w.store.bodies(), 0u);
}

TEST(CacheTable, an_offline_reactor_holds_nothing_back) {
  World w;
  w.put("/a", "alpha");
  w.table->offline(0);
  w.table->offline(1);
  w.table->invalidate(key_of("/a"), hash_of("/a"));
  (void)w.table->maintain(w.now);
  EXPECT_EQ(w.table->stats().retired, 0u);
}

TEST(CacheTable, never_holds_more_than_its_cap) {
  const uint64_t cap = 256 * 1024;
  World w({.bytes_max = cap});
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(w.put("/" + std::to_string(i), std::string(static_cast<size_t>(i % 900), 'x')), InsertOutcome::INSERTED);
    ASSERT_LE(w.ledger.cached(), cap);
    w.turn();
  }
  EXPECT_GT(w.table->stats().evicted, 1000u);
  EXPECT_GT(w.ledger.cached(), cap - 8 * 1024);  // and it uses what it has
  w.table->check_invariants();
}

TEST(CacheTable, refuses_what_is_larger_than_an_entry_may_be) {
  World w({.bytes_max = 1 << 20, .entry_bytes_max = 8 * 1024});
  EXPECT_EQ(w.put("/big", std::string(8 * 1024, 'x')), InsertOutcome::TOO_LARGE);
  EXPECT_EQ(w.put("/fits", std::string(7 * 1024, 'x')), InsertOutcome::INSERTED);
  w.table->set_limits({.bytes_max = 1 << 20, .entry_bytes_max = 64 << 20});
  EXPECT_EQ(w.put("/huge", std::string(2 << 20, 'x')), InsertOutcome::TOO_LARGE);
  EXPECT_NE(w.look("/fits"), nullptr) << "nothing is thrown out for what can never fit";
}

TEST(CacheTable, lowering_the_cap_evicts_at_once) {
  World w;
  for (int i = 0; i < 3000; ++i) w.put("/" + std::to_string(i), std::string(1000, 'x'));
  ASSERT_EQ(w.table->stats().entries, 3000u);
  w.table->set_limits({.bytes_max = 512 * 1024});
  EXPECT_LE(w.ledger.cached(), 512u * 1024);
  EXPECT_GT(w.table->stats().entries, 100u);
  w.table->check_invariants();
  w.table->set_limits({.bytes_max = 0});
  EXPECT_EQ(w.table->stats().entries, 0u);
  EXPECT_EQ(w.look("/1"), nullptr);
  EXPECT_EQ(w.why, Verdict::DISABLED);
  EXPECT_EQ(w.put("/1", "x"), InsertOutcome::DISABLED);
}

TEST(CacheTable, gives_index_memory_back_when_it_empties) {
  World w;
  for (int i = 0; i < 20000; ++i) w.put("/" + std::to_string(i), "x");
  const uint64_t full = w.table->stats().bytes_index;
  w.table->purge_all();
  w.upkeep();
  EXPECT_EQ(w.table->stats().entries, 0u);
  EXPECT_LT(w.table->stats().bytes_index, full / 4);
  w.table->check_invariants();
}

TEST(CacheTable, the_scavenger_flushes_what_was_not_used_for_a_period) {
  World w({.scavenge_period = seconds(120)});
  (void)w.table->maintain(w.now);
  w.put("/used", "u");
  w.put("/idle", "i");
  w.now = w.now + seconds(121);
  w.upkeep();  // both were used within the first period: inserted
  w.now = w.now + seconds(60);
  ASSERT_NE(w.look("/used"), nullptr);
  w.now = w.now + seconds(61);
  w.upkeep();
  EXPECT_EQ(w.table->stats().scavenged, 1u);
  EXPECT_NE(w.look("/used"), nullptr);
  EXPECT_EQ(w.look("/idle"), nullptr);
  EXPECT_EQ(w.why, Verdict::MISS_FIRST);
}

TEST(CacheTable, counts_lookups_by_verdict) {
  World w;
  w.put("/a", "a");
  for (int i = 0; i < 5; ++i) (void)w.look("/a", 1, static_cast<uint32_t>(i % 2));
  (void)w.look("/b");
  (void)w.look("/a", 7);
  const CacheStats stats = w.table->stats();
  EXPECT_EQ(stats.hits(), 5u);
  EXPECT_EQ(stats.lookups[static_cast<size_t>(Verdict::MISS_FIRST)], 1u);
  EXPECT_EQ(stats.lookups[static_cast<size_t>(Verdict::STALE_CONFIG)], 1u);
}

TEST(CacheTable, top_ranks_by_hits_even_when_they_are_sampled) {
  World w;
  for (int i = 0; i < 500; ++i) w.put("/" + std::to_string(i), "x");
  // 30 hot ones, the i-th hit 20,000 / (i + 1) times, in a fixed rotation that no stride may alias with.
  for (int round = 0; round < 20000; ++round) {
    for (int i = 0; i < 30 && round % (i + 1) == 0; ++i) {
      if (round % (i + 1) == 0) (void)w.look("/" + std::to_string(i), 1, static_cast<uint32_t>(round % 2));
    }
    if (round % 100 == 0) w.now = w.now + milliseconds(1);
  }
  const auto rows = w.table->top(3);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].canonical, "example.org/0");
  EXPECT_NEAR(static_cast<double>(rows[0].hits), 20000.0, 4000.0);
  EXPECT_GE(rows[0].hits, rows[1].hits);
  EXPECT_GE(rows[1].hits, rows[2].hits);
}

TEST(CacheTable, top_is_exact_while_there_is_little_traffic) {
  World w;
  w.put("/a", "a");
  w.put("/b", "b");
  for (int i = 0; i < 7; ++i) (void)w.look("/b");
  for (int i = 0; i < 3; ++i) (void)w.look("/a");
  const auto rows = w.table->top(20);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].canonical, "example.org/b");
  EXPECT_EQ(rows[0].hits, 7u);
  EXPECT_EQ(rows[1].hits, 3u);
}

TEST(CacheTable, why_tells_without_counting) {
  World w;
  w.put("/a", "a");
  w.now = w.now + seconds(3);
  EXPECT_EQ(w.table->why(key_of("/a"), hash_of("/a"), 1, w.now).verdict, Verdict::HIT);
  EXPECT_EQ(w.table->why(key_of("/a"), hash_of("/a"), 2, w.now).verdict, Verdict::STALE_CONFIG);
  EXPECT_EQ(w.table->why(key_of("/z"), hash_of("/z"), 1, w.now).verdict, Verdict::MISS_FIRST);
  EXPECT_EQ(w.table->stats().hits(), 0u);
}

// The objects that stay are scattered over memory that the others left.
TEST(CacheTable, moves_entries_together_and_gives_memory_back) {
  World w({.bytes_max = 64 << 20, .overhead_slack = 1 << 20}, {.sendfile_min = 20'000});
  std::vector<std::string> targets;
  for (size_t i = 0; i < 20'000; ++i) {
    targets.push_back("/" + std::to_string(i));
    ASSERT_EQ(w.put(targets.back(), targets.back() + std::string(1500, 'x')), InsertOutcome::INSERTED);
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    if (i % 8 != 0) w.table->invalidate(key_of(targets[i]), hash_of(targets[i]));
    if (i % 1000 == 0) w.turn();
  }
  const Entry* held = w.look("/8");
  held->pin();
  w.turn();
  w.now = w.now + seconds(10);
  const uint64_t before = w.ledger.arena().overhead();
  w.upkeep();
  EXPECT_GT(w.table->stats().relocated, 1000u);
  EXPECT_GT(before, 20u << 20);
  EXPECT_LT(w.ledger.arena().overhead(), 6u << 20);
  for (size_t i = 0; i < targets.size(); i += 8) {
    const Entry* entry = w.look(targets[i]);
    ASSERT_NE(entry, nullptr);
    ASSERT_TRUE(entry->pick(0)->body->view().starts_with(targets[i] + "x"));
  }
  EXPECT_TRUE(held->pick(0)->body->view().starts_with("/8x"));
  held->unpin();
  w.table->check_invariants();
}

// Random operations against a map of what may be found, with the books held against themselves.
TEST(CacheTable, keeps_exact_accounts_through_random_work) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    const uint64_t cap = 192 * 1024;
    World w({.bytes_max = cap, .scavenge_period = seconds(30)}, {.sendfile_min = 3000, .memfds_max = 16});
    Prng prng(seed);
    std::map<std::string, std::string> newest;  // what a hit must return, if it hits
    std::vector<const Entry*> pins;
    for (int step = 0; step < 4000; ++step) {
      const std::string target = "/" + std::to_string(prng.below(700));
      switch (prng.below(12)) {
        case 0:
          w.table->invalidate(key_of(target), hash_of(target));
          newest.erase(target);
          break;
        case 1:
          if (prng.one_in(20)) {
            w.table->purge_prefix("example.org" + target.substr(0, 2));
            std::erase_if(newest, [&](auto& item) { return item.first.starts_with(target.substr(0, 2)); });
          }
          break;
        case 2:
          w.now = w.now + milliseconds(prng.below(2000));
          (void)w.table->maintain(w.now);
          break;
        case 3:
          w.turn();
          break;
        case 4:
          if (!pins.empty()) {
            pins.back()->unpin();
            pins.pop_back();
          }
          break;
        case 5:
        case 6:
        case 7: {
          std::string content(prng.below(5000), static_cast<char>('a' + prng.below(26)));
          if (w.put(target, content) == InsertOutcome::INSERTED) newest[target] = content;
          break;
        }
        default:
          if (const Entry* entry = w.look(target)) {
            const Variant* variant = entry->pick(0);
            ASSERT_TRUE(newest.contains(target));
            ASSERT_EQ(std::string_view(variant->body->data(), variant->body_size), newest[target]);
            if (prng.one_in(16) && pins.size() < 50) {
              entry->pin();
              pins.push_back(entry);
            }
          }
      }
      ASSERT_LE(w.ledger.cached(), cap);
      if (step % 64 == 0) w.table->check_invariants();
    }
    w.table->purge_all();
    w.upkeep();
    w.table->check_invariants();
    uint64_t held = 0;
    std::map<const Entry*, int> distinct;
    for (const Entry* entry : pins) ++distinct[entry];
    for (auto& [entry, count] : distinct) held += entry->charge_with_bodies();
    EXPECT_EQ(w.ledger.transient(), held);
    for (const Entry* entry : pins) entry->unpin();
    EXPECT_EQ(w.ledger.transient(), 0u);
    EXPECT_EQ(w.store.bodies(), 0u);
    EXPECT_EQ(w.store.memfds(), 0u);
    w.table.reset();
    EXPECT_EQ(w.ledger.cached(), 0u);
  }
}

}  // namespace
}  // namespace penstock::cache_test
