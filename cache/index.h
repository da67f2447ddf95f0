// CacheIndex: finds entries by key. A hash table that is read without locks while it grows.
//
// Buckets are one cache line: seven entries, each pointer with 16 bits of the hash above it, and a link to an
// overflow bucket. Linear hashing (Litwin, VLDB 1980): the table grows and shrinks one bucket at a time, so no
// operation ever moves more than one bucket's entries, and no reader ever waits. Buckets live in
// segments that double in size and never move.
// Readers: find() on any thread that is online in the epoch domain that the owner uses. Writers: everything
// else, under the owner's mutex; overflow buckets taken out of use are handed to the owner to retire.
#pragma once

#include "cache/entry.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

namespace penstock {

class CacheIndex {
 public:
  CacheIndex();
  CacheIndex(const CacheIndex&) = delete;
  CacheIndex& operator=(const CacheIndex&) = delete;
  ~CacheIndex();  // REQUIRES: no reader is left

  // The entry of `key`, or nullptr. Lock-free.
  [[nodiscard]] Entry* find(const KeyView& key, uint64_t hash) const;

  // Writers. REQUIRES: no entry of the same key is in.
  void insert(Entry* entry);
  // REQUIRES: `entry` is in.
  void remove(Entry* entry);
  // `fresh` takes the place of `old` at once: no reader misses both. REQUIRES: equal keys.
  void swap(Entry* old, Entry* fresh);

  // The entry of this hash, whatever its key; nullptr where there is none.
  [[nodiscard]] Entry* find_by_hash(uint64_t hash) const;

  // Calls visit(Entry*) for each entry of one bucket; visit may remove() the entry it got. While a walk over
  // all buckets [0, buckets()) is under way shrinking must be off, or entries would be missed: growth
  // only moves entries ahead of the walk, shrinking moves them behind it.
  template <typename Visit>
  void for_each_in(uint32_t bucket, Visit&& visit) {
    for (Bucket* at = bucket_at(bucket); at != nullptr;) {
      Bucket* next = at->next.load(std::memory_order_relaxed);
      // A walk is bound by memory: ask for all lines of the bucket's entries before looking at the first.
      for (auto& slot : at->slots) prefetch(entry_of(slot.load(std::memory_order_relaxed)));
      for (auto& slot : at->slots) {
        const uint64_t word = slot.load(std::memory_order_relaxed);
        if (word != 0) visit(entry_of(word));
      }
      at = next;
    }
  }
  // Gives back buckets while the table is sparse, `merges` at most; true where more could be given back.
  bool shrink(uint32_t merges);

  [[nodiscard]] uint32_t buckets() const { return count_of(shape_.load(std::memory_order_relaxed)); }
  [[nodiscard]] uint64_t entries() const { return entries_; }
  [[nodiscard]] uint64_t memory_bytes() const { return (uint64_t{buckets()} + overflow_buckets_) * sizeof(Bucket); }

  // Overflow buckets that readers may still see; the owner frees each by free_retired() when none can.
  [[nodiscard]] std::vector<void*>& retired() { return retired_; }
  static void free_retired(void* bucket);

 private:
  static constexpr uint32_t SLOTS = 7;
  static constexpr uint32_t BASE_BITS = 8;  // the first segment: 256 buckets, 16 KiB
  static constexpr uint32_t BASE = 1u << BASE_BITS;
  static constexpr uint32_t SEGMENTS = 24;
  static constexpr uint32_t LOAD = 4;  // entries a bucket on average: 5 % of full buckets overflow
  struct alignas(64) Bucket {
    std::atomic<uint64_t> slots[SLOTS];
    std::atomic<Bucket*> next;
  };
  static_assert(sizeof(Bucket) == 64, "a lookup reads one line of the index");

  static constexpr uint64_t POINTER_MASK = 0x0000'ffff'ffff'ffff;
  [[nodiscard]] static uint64_t tag_of(uint64_t hash) { return hash & ~POINTER_MASK; }
  [[nodiscard]] static Entry* entry_of(uint64_t word) { return reinterpret_cast<Entry*>(word & POINTER_MASK); }
  // What a lookup reads of an entry after its first line: the second, the first variant, the key. No harm
  // where there is no entry.
  static void prefetch(const Entry* entry) {
    const uintptr_t line = reinterpret_cast<uintptr_t>(entry);
    for (const size_t offset : {size_t{0}, sizeof(Entry), sizeof(Entry) + sizeof(Variant)}) {
      __builtin_prefetch(reinterpret_cast<const void*>(line + offset));
    }
  }
  [[nodiscard]] static uint64_t word_of(Entry* entry);

  [[nodiscard]] static uint32_t count_of(uint64_t shape) { return static_cast<uint32_t>(shape); }
  void publish_count(uint32_t count);

  // Bucket of a hash when there are `count` buckets.
  [[nodiscard]] static uint32_t place_of(uint64_t hash, uint32_t count);
  [[nodiscard]] Bucket* bucket_at(uint32_t index) const;
  [[nodiscard]] std::atomic<uint64_t>& slot_of(const Entry* entry) const;
  void put(Bucket* bucket, uint64_t word);
  void split();
  void merge();
  void drop_empty_overflow(Bucket* bucket);
  void map_segment(uint32_t segment);

  // Moves above the number of buckets below: changes with every split and merge, and never returns to an old
  // value while a reader sleeps.
  std::atomic<uint64_t> shape_{BASE};
  std::array<std::atomic<Bucket*>, SEGMENTS> segments_{};
  uint64_t entries_ = 0;
  uint64_t overflow_buckets_ = 0;
  std::vector<void*> retired_;
};

}  // namespace penstock
