#include "cache/index.h"

#include "tests/unit/cache/world.h"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace penstock::cache_test {
namespace {

std::vector<Entry*> make_entries(World& w, std::string_view prefix, int count) {
  std::vector<Entry*> entries;
  for (int i = 0; i < count; ++i) entries.push_back(w.entry(std::string(prefix) + std::to_string(i), "x"));
  return entries;
}

void unpin_all(const std::vector<Entry*>& entries) {
  for (Entry* entry : entries) entry->unpin();
}

TEST(CacheIndex, grows_and_shrinks_one_bucket_at_a_time_and_loses_nothing) {
  World w;
  const std::vector<Entry*> entries = make_entries(w, "/", 30'000);
  {
    CacheIndex index;
    const uint32_t least = index.buckets();
    for (Entry* entry : entries) {
      const uint32_t before = index.buckets();
      index.insert(entry);
      ASSERT_LE(index.buckets(), before + 1);
    }
    EXPECT_GE(index.buckets() * 4, entries.size() - 4);
    for (Entry* entry : entries) ASSERT_EQ(index.find(entry->key(), entry->hash()), entry);
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i % 50 != 0) index.remove(entries[i]);
    }
    while (index.shrink(100)) {
    }
    EXPECT_LE(index.buckets(), least * 2);
    for (size_t i = 0; i < entries.size(); ++i) {
      ASSERT_EQ(index.find(entries[i]->key(), entries[i]->hash()), i % 50 == 0 ? entries[i] : nullptr);
    }
    uint64_t walked = 0;
    for (uint32_t i = 0; i < index.buckets(); ++i) index.for_each_in(i, [&](Entry*) { ++walked; });
    EXPECT_EQ(walked, index.entries());
  }
  unpin_all(entries);
}

// What stays in the table is found by every lookup, however the buckets split and merge meanwhile.
TEST(CacheIndex, a_reader_never_misses_what_stays_while_it_grows_and_shrinks) {
  World w;
  const std::vector<Entry*> stay = make_entries(w, "/stay/", 500);
  const std::vector<Entry*> churn = make_entries(w, "/churn/", 4'000);
  {
    CacheIndex index;
    for (Entry* entry : stay) index.insert(entry);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> missed{0}, looked{0};
    std::vector<std::thread> readers;
    for (int r = 0; r < 2; ++r) {
      readers.emplace_back([&] {
        while (!stop.load(std::memory_order_relaxed)) {
          for (const Entry* entry : stay) missed += index.find(entry->key(), entry->hash()) != entry ? 1 : 0;
          looked += stay.size();
        }
      });
    }
    while (looked.load() == 0) std::this_thread::yield();
    for (int round = 0; round < 30; ++round) {
      for (Entry* entry : churn) index.insert(entry);
      for (Entry* entry : churn) index.remove(entry);
      while (index.shrink(1)) {
      }
    }
    stop = true;
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(missed.load(), 0u);
  }
  unpin_all(stay);
  unpin_all(churn);
}

}  // namespace
}  // namespace penstock::cache_test
