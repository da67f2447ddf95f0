// MemoryLedger: every byte the response cache holds, in one of two columns.
//
// cached:    entries of the table and their bodies, and the table's own index: what cache.size bounds.
// transient: bodies being filled, and what left the table but is still being sent to somebody.
// One per cache, shared by BodyStore, entries and CacheTable; thread-safe (relaxed counters: they
// publish no data). Charges are what the arena really took, not what was asked for. It owns the arena
// that entries and plain bodies lie in.
#pragma once

#include "cache/arena.h"

#include <atomic>
#include <cstdint>

namespace penstock {

class MemoryLedger {
 public:
  // Adds to transient unless that would pass the bound; false at the bound.
  [[nodiscard]] bool charge_transient(uint64_t bytes) {
    const uint64_t bound = transient_max_.load(std::memory_order_relaxed);
    if (bytes <= bound && transient_.fetch_add(bytes, std::memory_order_relaxed) <= bound - bytes) return true;
    if (bytes <= bound) transient_.fetch_sub(bytes, std::memory_order_relaxed);
    return false;
  }
  void release_transient(uint64_t bytes) { transient_.fetch_sub(bytes, std::memory_order_relaxed); }
  void transient_to_cached(uint64_t bytes) {
    cached_.fetch_add(bytes, std::memory_order_relaxed);
    transient_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  void cached_to_transient(uint64_t bytes) {
    transient_.fetch_add(bytes, std::memory_order_relaxed);
    cached_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  void charge_cached(uint64_t bytes) { cached_.fetch_add(bytes, std::memory_order_relaxed); }
  void release_cached(uint64_t bytes) { cached_.fetch_sub(bytes, std::memory_order_relaxed); }
  void set_transient_max(uint64_t bytes) { transient_max_.store(bytes, std::memory_order_relaxed); }

  [[nodiscard]] Arena& arena() { return arena_; }
  [[nodiscard]] const Arena& arena() const { return arena_; }

  [[nodiscard]] uint64_t cached() const { return cached_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t transient() const { return transient_.load(std::memory_order_relaxed); }

 private:
  Arena arena_;
  std::atomic<uint64_t> cached_{0};
  std::atomic<uint64_t> transient_{0};
  std::atomic<uint64_t> transient_max_{UINT64_MAX};
};

}  // namespace penstock
