// Readers look up, check every byte and pin while writers insert, evict, purge, replace, invalidate,
// relocate and resize. Run under TSan and ASan it checks the reclamation: an entry freed too early is a report, and
// without them the canaries below change.
#include "src/base/prng.h"
#include "tests/unit/cache/world.h"

#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace penstock::cache_test {
namespace {

constexpr uint32_t READERS = 3;
constexpr uint32_t KEYS = 600;

// A body tells which key it belongs to and is the same letter throughout, so that a mixed or freed one shows.
std::string content_for(uint32_t key, Prng& prng) {
  const std::string name = std::to_string(key) + ":";
  return name + std::string(prng.below(6000), static_cast<char>('a' + key % 26));
}

bool content_is_whole(uint32_t key, std::string_view bytes) {
  const std::string name = std::to_string(key) + ":";
  if (!bytes.starts_with(name)) return false;
  bytes.remove_prefix(name.size());
  return bytes.find_first_not_of(static_cast<char>('a' + key % 26)) == std::string_view::npos;
}

class Stress {
 public:
  explicit Stress(World& world) : w_(world) {}

  void read(uint32_t reactor) {
    Prng prng(reactor + 100);
    std::vector<std::pair<uint32_t, const Entry*>> pins;
    CacheTable& table = *w_.table;
    table.online(reactor);
    while (!stop_.load(std::memory_order_relaxed)) {
      for (int i = 0; i < 16; ++i) {
        const uint32_t key = prng.below(KEYS);
        const std::string target = "/" + std::to_string(key);
        Verdict why{};
        const Entry* entry = table.lookup(reactor, key_of(target), hash_of(target), 1, w_.now, why);
        if (entry == nullptr) continue;
        check(key, entry);
        hits_.fetch_add(1, std::memory_order_relaxed);
        if (prng.one_in(32) && pins.size() < 20) {
          entry->pin();
          pins.emplace_back(key, entry);
        }
      }
      table.quiescent(reactor);
      if (!pins.empty() && prng.one_in(2)) {
        check(pins.back().first, pins.back().second);
        pins.back().second->unpin();
        pins.pop_back();
      }
      if (prng.one_in(64)) {
        table.offline(reactor);
        std::this_thread::yield();
        table.online(reactor);
      }
    }
    table.offline(reactor);
    for (auto& [key, entry] : pins) {
      check(key, entry);
      entry->unpin();
    }
  }

  void write(uint64_t seed, int operations) {
    Prng prng(seed);
    CacheTable& table = *w_.table;
    for (int i = 0; i < operations; ++i) {
      const uint32_t key = prng.below(KEYS);
      const std::string target = "/" + std::to_string(key);
      switch (prng.below(64)) {
        case 0:
          table.purge_url("example.org" + target);
          break;
        case 1:
          table.purge_prefix("example.org" + target.substr(0, 2));
          break;
        case 2:
          table.invalidate(key_of(target), hash_of(target));
          break;
        case 3:
          table.set_limits({.bytes_max = 200'000 + prng.below(1'500'000), .overhead_slack = 0});
          break;
        case 4:
          w_.validity.bump(cell_.cell);
          break;
        case 5:
        case 6:
          (void)table.maintain(w_.now + milliseconds(i));
          break;
        case 7:
          (void)table.top(10);
          break;
        case 8:
          (void)table.stats();
          break;
        case 9:
          if (prng.one_in(50)) table.purge_all();
          break;
        default:
          insert(key, target, prng);
      }
    }
  }

  void stop() { stop_.store(true); }
  [[nodiscard]] uint64_t hits() const { return hits_.load(); }
  [[nodiscard]] uint64_t bad() const { return bad_.load(); }
  void use_cell(Validity cell) { cell_ = cell; }

 private:
  void check(uint32_t key, const Entry* entry) {
    const Variant* variant = entry->pick(0);
    const std::string target = "/" + std::to_string(key);
    const bool good = entry->has_key(key_of(target)) &&
                      content_is_whole(key, {variant->body->data(), variant->body_size}) &&
                      variant->head().ends_with("\r\n\r\n");
    if (!good) bad_.fetch_add(1);
  }

  void insert(uint32_t key, const std::string& target, Prng& prng) {
    Body* body = w_.body(content_for(key, prng));
    if (body == nullptr) return;  // at the transient bound
    const std::string canonical = "example.org" + target;
    EntryBuilder builder;
    builder.key = key_of(target);
    builder.hash = hash_of(target);
    builder.generation = 1;
    builder.purge_mark = w_.table->purge_mark();
    builder.validity = key % 3 == 0 ? w_.validity.current(cell_.cell) : Validity{};
    builder.canonical = canonical;
    ASSERT_TRUE(builder.add({.head = "HTTP/1.1 200 OK\r\n\r\n", .body = body}));
    Entry* entry = builder.build(w_.ledger);
    body->unpin();
    if (entry == nullptr) return;
    if (w_.table->insert(entry, w_.now) == InsertOutcome::INSERTED && prng.one_in(4)) {
      EntryBuilder more = EntryBuilder::from(*entry);
      Body* small = w_.body("gz");
      if (small != nullptr && more.add({.coding = Coding::GZIP, .head = "H\r\n\r\n", .body = small})) {
        if (Entry* both = more.build(w_.ledger)) {
          (void)w_.table->replace(entry, both, w_.now);
          both->unpin();
        }
      }
      if (small != nullptr) small->unpin();
    }
    entry->unpin();
  }

  World& w_;
  Validity cell_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> hits_{0};
  std::atomic<uint64_t> bad_{0};
};

TEST(CacheStress, readers_never_see_what_was_freed_or_mixed) {
  World w({.bytes_max = 1'000'000, .overhead_slack = 0}, {.sendfile_min = 5000, .memfds_max = 64}, READERS);
  for (uint32_t i = 0; i < READERS; ++i) w.table->offline(i);
  Stress stress(w);
  stress.use_cell(w.validity.allocate());
  std::vector<std::thread> readers, writers;
  for (uint32_t i = 0; i < READERS; ++i) readers.emplace_back([&stress, i] { stress.read(i); });
  for (uint64_t i = 0; i < 2; ++i) writers.emplace_back([&stress, i] { stress.write(i + 1, 12'000); });
  for (std::thread& thread : writers) thread.join();
  stress.stop();
  for (std::thread& thread : readers) thread.join();

  EXPECT_EQ(stress.bad(), 0u);
  EXPECT_GT(stress.hits(), 0u) << "the readers met nothing";
  w.table->check_invariants();
  w.table->purge_all();
  while (w.table->maintain(w.now)) {
  }
  (void)w.table->maintain(w.now);
  EXPECT_EQ(w.table->stats().entries, 0u);
  EXPECT_EQ(w.table->stats().retired, 0u);
  EXPECT_EQ(w.ledger.transient(), 0u) << "everything was given back";
  EXPECT_EQ(w.store.bodies(), 0u);
  EXPECT_EQ(w.store.memfds(), 0u);
}

}  // namespace
}  // namespace penstock::cache_test
