#include "cache/eviction.h"

#include "src/base/hash.h"
#include "src/base/prng.h"

#include <cmath>
#include <gtest/gtest.h>
#include <list>
#include <map>
#include <unordered_map>
#include <vector>

namespace penstock::cache_test {
namespace {

struct Item {
  uint64_t id = 0;
  uint64_t bytes = 1;
  std::atomic<uint8_t> freq{0};
  uint8_t queue = 9;
  Item* prev = nullptr;
  Item* next = nullptr;
};

struct ItemTraits {
  static uint64_t hash(const Item* i) { return hash_word(i->id + 1); }
  static uint64_t bytes(const Item* i) { return i->bytes; }
  static std::atomic<uint8_t>& freq(Item* i) { return i->freq; }
  static Item*& prev(Item* i) { return i->prev; }
  static Item*& next(Item* i) { return i->next; }
  static uint8_t& queue(Item* i) { return i->queue; }
};

class Cache {
 public:
  explicit Cache(uint64_t capacity) : capacity_(capacity), eviction_(1 << 20) { eviction_.set_capacity(capacity); }
  bool access(uint64_t id, uint64_t bytes = 1) {
    if (const auto found = items_.find(id); found != items_.end()) {
      count_hit(found->second.freq);
      return true;
    }
    while (eviction_.bytes() + bytes > capacity_) evict();
    Item& item = items_[id];
    item.id = id;
    item.bytes = bytes;
    eviction_.insert(&item);
    return false;
  }
  uint64_t evict() {
    Item* victim = eviction_.evict();
    const uint64_t id = victim->id;
    items_.erase(id);
    return id;
  }
  bool has(uint64_t id) const { return items_.contains(id); }
  Item& at(uint64_t id) { return items_.at(id); }
  Eviction<Item, ItemTraits>& eviction() { return eviction_; }
  void drop(uint64_t id) {
    eviction_.remove(&items_.at(id));
    items_.erase(id);
  }
  uint64_t size() const { return items_.size(); }

 private:
  uint64_t capacity_;
  Eviction<Item, ItemTraits> eviction_;
  std::unordered_map<uint64_t, Item> items_;
};

class Lru {
 public:
  explicit Lru(uint64_t capacity) : capacity_(capacity) {}
  bool access(uint64_t id) {
    if (const auto found = index_.find(id); found != index_.end()) {
      queue_.splice(queue_.begin(), queue_, found->second);
      return true;
    }
    if (queue_.size() == capacity_) {
      index_.erase(queue_.back());
      queue_.pop_back();
    }
    queue_.push_front(id);
    index_[id] = queue_.begin();
    return false;
  }

 private:
  uint64_t capacity_;
  std::list<uint64_t> queue_;
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> index_;
};

TEST(Eviction, one_hit_wonders_leave_before_the_main_queue) {
  Cache cache(100);
  for (uint64_t i = 0; i < 100; ++i) cache.access(i);
  for (int round = 0; round < 3; ++round) {
    for (uint64_t i = 50; i < 100; ++i) cache.access(i);
  }
  for (uint64_t i = 1000; i < 3000; ++i) cache.access(i);
  uint64_t kept = 0;
  for (uint64_t i = 50; i < 100; ++i) kept += cache.has(i) ? 1 : 0;
  EXPECT_EQ(kept, 50u);
}

TEST(Eviction, what_comes_back_soon_goes_to_the_main_queue) {
  Cache cache(100);
  for (uint64_t i = 0; i < 200; ++i) cache.access(i);
  const uint64_t gone = cache.evict();
  cache.access(gone);
  EXPECT_EQ(cache.at(gone).queue, 1);
  cache.access(100'000);
  EXPECT_EQ(cache.at(100'000).queue, 0);
}

TEST(Eviction, counts_bytes_not_objects) {
  Cache cache(1000);
  Prng prng(3);
  for (int i = 0; i < 20'000; ++i) {
    cache.access(prng.below(3000), 1 + prng.below(200));
    ASSERT_LE(cache.eviction().bytes(), 1000u);
  }
}

TEST(Eviction, replacing_keeps_the_rank) {
  Cache cache(100);
  for (uint64_t i = 0; i < 5; ++i) cache.access(i);
  cache.access(2);
  Item& old = cache.at(2);
  Item fresh;
  fresh.id = 2;
  fresh.bytes = 7;
  cache.eviction().replace(&old, &fresh);
  EXPECT_EQ(fresh.freq.load(), 1);
  EXPECT_EQ(fresh.queue, 0);
  EXPECT_EQ(cache.eviction().bytes(), 11u);
  EXPECT_EQ(fresh.prev, &cache.at(3));
  EXPECT_EQ(fresh.next, &cache.at(1));
  cache.eviction().replace(&fresh, &old);
  EXPECT_EQ(cache.eviction().bytes(), 5u);
}

TEST(Eviction, survives_removals_from_anywhere) {
  Cache cache(500);
  Prng prng(11);
  std::vector<uint64_t> present;
  for (int i = 0; i < 30'000; ++i) {
    const uint64_t id = prng.below(1500);
    if (prng.one_in(4) && cache.has(id)) {
      cache.drop(id);
    } else {
      cache.access(id);
    }
    ASSERT_EQ(cache.eviction().bytes(), cache.size());
  }
  while (cache.size() > 0) cache.evict();
  EXPECT_EQ(cache.eviction().evict(), nullptr);
  EXPECT_EQ(cache.eviction().bytes(), 0u);
}

TEST(Eviction, one_eviction_is_bounded_however_hot_everything_is) {
  Cache cache(10'000);
  for (uint64_t i = 0; i < 10'000; ++i) cache.access(i);
  for (int round = 0; round < 4; ++round) {
    for (uint64_t i = 0; i < 10'000; ++i) cache.access(i);
  }
  cache.evict();
  uint64_t cooled = 0;
  for (uint64_t i = 0; i < 10'000; ++i) cooled += cache.has(i) && cache.at(i).freq.load() < FREQ_MAX ? 1 : 0;
  EXPECT_LE(cooled, 300u);
}

// Zipf, with a quarter of the time a scan of objects never seen again.
TEST(Eviction, misses_less_than_lru_under_zipf_and_scans) {
  constexpr uint32_t OBJECTS = 10'000;
  std::vector<double> cumulative;
  double sum = 0;
  for (uint32_t i = 0; i < OBJECTS; ++i) cumulative.push_back(sum += 1.0 / (i + 1));
  for (const uint64_t capacity : {50u, 500u, 2000u}) {
    Prng prng(7);
    Cache ours(capacity);
    Lru lru(capacity);
    uint64_t our_misses = 0, lru_misses = 0, scanned = 1'000'000;
    constexpr int REQUESTS = 100'000;
    for (int i = 0; i < REQUESTS; ++i) {
      const double point = static_cast<double>(prng.next() >> 11) * 0x1p-53 * sum;
      const auto rank = std::lower_bound(cumulative.begin(), cumulative.end(), point) - cumulative.begin();
      const uint64_t id = i / 5000 % 4 == 3 ? scanned++ : static_cast<uint64_t>(rank);
      our_misses += ours.access(id) ? 0 : 1;
      lru_misses += lru.access(id) ? 0 : 1;
    }
    EXPECT_LT(our_misses + REQUESTS * 3 / 100, lru_misses) << capacity;
  }
}

// Each object is asked for a few times soon after it appears, then never again: the worst case of a fixed
// small queue, which throws them out too early. The share has to grow.
TEST(Eviction, the_small_queue_grows_where_recency_is_what_counts) {
  Cache cache(100);
  Lru lru(100);
  Prng prng(5);
  uint64_t ours = 0, theirs = 0;
  for (uint64_t i = 0; i < 60'000; ++i) {
    const uint64_t id = i / 3 - std::min<uint64_t>(i / 3, i % 3 == 0 ? 0 : prng.below(60));
    ours += cache.access(id) ? 0 : 1;
    theirs += lru.access(id) ? 0 : 1;
  }
  EXPECT_GT(cache.eviction().small_target(), 40u);
  EXPECT_LT(static_cast<double>(ours), static_cast<double>(theirs) * 1.1);
}

TEST(GhostSet, forgets_after_its_window_of_bytes) {
  GhostSet ghosts(1024);
  ghosts.set_window(100);
  ghosts.add(hash_word(1), 0, 10);
  ghosts.add(hash_word(2), 1, 10);
  ghosts.add(hash_word(3), 0, 100);
  const GhostSet::Found first = ghosts.take(hash_word(1));
  EXPECT_TRUE(first.hit);
  EXPECT_EQ(first.age, 100u);
  EXPECT_FALSE(ghosts.take(hash_word(1)).hit) << "taken";
  ghosts.add(hash_word(4), 0, 1);
  ghosts.add(hash_word(5), 0, 100);
  EXPECT_FALSE(ghosts.take(hash_word(3)).hit) << "101 bytes ago";
  const GhostSet::Found other = ghosts.take(hash_word(2));
  EXPECT_TRUE(other.hit) << "the other queue's clock stood still";
  EXPECT_EQ(other.queue, 1u);
}

TEST(GhostSet, grows_to_what_it_must_remember_and_no_further) {
  GhostSet ghosts(1 << 14);
  ghosts.set_window(10'000);
  for (uint64_t i = 0; i < 10'000; ++i) ghosts.add(hash_word(i + 1), 0, 1);
  uint64_t remembered = 0;
  for (uint64_t i = 0; i < 10'000; ++i) remembered += ghosts.take(hash_word(i + 1)).hit ? 1 : 0;
  EXPECT_GT(remembered, 9'000u);
  EXPECT_LE(ghosts.memory_bytes(), (1u << 14) * 8);
}

}  // namespace
}  // namespace penstock::cache_test
