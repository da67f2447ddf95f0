// ConnectionTable: socket pair → slot of the connection pool, O(1) however many there are. Owned by one engine.
//
// Open addressing with linear probing, at most half full, so that a look-up touches one cache line; the hash is keyed
// (siphash.h), so that nobody can make his connections collide. No allocation after construction.
#pragma once

#include "src/base/assert.h"

#include <bit>
#include <cstdint>
#include <sys/mman.h>

namespace penstock {

class ConnectionTable {
 public:
  static constexpr uint32_t NONE = UINT32_MAX;

  explicit ConnectionTable(uint32_t connections_max) : mask_(std::bit_ceil(connections_max * 2) - 1) {
    ASSERT(connections_max > 0 && connections_max <= 1U << 30);
    // Fresh pages are zeroes, and NONE is stored as 0: a large table costs what is used of it.
    void* memory = ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT(memory != MAP_FAILED);
    entries_ = static_cast<Entry*>(memory);
  }
  ConnectionTable(const ConnectionTable&) = delete;
  ConnectionTable& operator=(const ConnectionTable&) = delete;
  ~ConnectionTable() { ::munmap(entries_, bytes()); }

  // The index for which same(index) holds among those with this hash, or NONE.
  template <typename Same>
  [[nodiscard]] uint32_t find(uint64_t hash, Same&& same) const {
    for (uint32_t at = slot_of(hash); entries_[at].index_plus_one != 0; at = (at + 1) & mask_) {
      if (entries_[at].tag == tag_of(hash) && same(entries_[at].index_plus_one - 1))
        return entries_[at].index_plus_one - 1;
    }
    return NONE;
  }
  // REQUIRES: not there yet; fewer than connections_max are.
  void insert(uint64_t hash, uint32_t index) {
    ASSERT(count_ <= mask_ / 2);
    uint32_t at = slot_of(hash);
    while (entries_[at].index_plus_one != 0) at = (at + 1) & mask_;
    entries_[at] = {index + 1, tag_of(hash)};
    ++count_;
  }
  // REQUIRES: it is there.
  void erase(uint64_t hash, uint32_t index) {
    uint32_t at = slot_of(hash);
    while (entries_[at].index_plus_one != index + 1) {
      ASSERT(entries_[at].index_plus_one != 0);
      at = (at + 1) & mask_;
    }
    // Backward shift (Knuth, 6.4 R): whoever was pushed past the gap moves into it; no tombstones.
    for (uint32_t next = (at + 1) & mask_; entries_[next].index_plus_one != 0; next = (next + 1) & mask_) {
      const uint32_t home = entries_[next].tag & mask_;
      if (((next - home) & mask_) >= ((next - at) & mask_)) {
        entries_[at] = entries_[next];
        at = next;
      }
    }
    entries_[at] = {};
    --count_;
  }
  [[nodiscard]] uint32_t count() const { return count_; }
  void prefetch(uint64_t hash) const { __builtin_prefetch(&entries_[slot_of(hash)]); }
  // What find() most probably gives, without asking whether it is the same; or NONE.
  [[nodiscard]] uint32_t guess(uint64_t hash) const {
    const Entry& entry = entries_[slot_of(hash)];
    return entry.index_plus_one != 0 && entry.tag == tag_of(hash) ? entry.index_plus_one - 1 : NONE;
  }

 private:
  struct Entry {
    uint32_t index_plus_one;
    uint32_t tag;  // of the hash: its low bits are the home slot
  };
  [[nodiscard]] size_t bytes() const { return sizeof(Entry) * (size_t{mask_} + 1); }
  [[nodiscard]] uint32_t slot_of(uint64_t hash) const { return tag_of(hash) & mask_; }
  [[nodiscard]] static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash); }

  Entry* entries_ = nullptr;
  uint32_t mask_;
  uint32_t count_ = 0;
};

}  // namespace penstock
