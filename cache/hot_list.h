// HotList: which keys one reactor hits most, in fixed memory (space-saving by sets of eight).
//
// One writer, the reactor, which notes a sample of its hits; the control thread reads at any time with
// relaxed loads: a row may be torn between two keys, which shows one wrong rank once.
// When the notes add up to DECAY_AT all counts are halved, so that it tells of late, not of all time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace penstock {

class HotList {
 public:
  static constexpr uint32_t SETS = 128, WAYS = 8;

  void note(uint64_t hash, uint32_t weight) {
    Set& set = sets_[(hash >> 20) % SETS];
    uint32_t least = 0;
    uint32_t way = 0;
    for (; way < WAYS; ++way) {
      const uint64_t seen = set.hashes[way].load(std::memory_order_relaxed);
      if (seen == hash) break;
      if (count(set, way) < count(set, least)) least = way;
    }
    if (way == WAYS) {
      // The newcomer inherits the least count: it may have been that frequent before it was seen.
      way = least;
      set.hashes[way].store(hash, std::memory_order_relaxed);
    }
    set.counts[way].store(count(set, way) + weight, std::memory_order_relaxed);
    total_ += weight;
    if (total_ >= DECAY_AT) decay();
  }

  // Calls visit(hash, count) for every row in use.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Set& set : sets_) {
      for (uint32_t way = 0; way < WAYS; ++way) {
        const uint64_t hash = set.hashes[way].load(std::memory_order_relaxed);
        if (hash != 0) visit(hash, count(set, way));
      }
    }
  }

 private:
  static constexpr uint64_t DECAY_AT = 1 << 24;
  struct alignas(64) Set {
    std::atomic<uint64_t> hashes[WAYS] = {};
    std::atomic<uint32_t> counts[WAYS] = {};
  };
  [[nodiscard]] static uint32_t count(const Set& set, uint32_t way) {
    return set.counts[way].load(std::memory_order_relaxed);
  }
  void decay() {
    total_ /= 2;
    for (Set& set : sets_) {
      for (uint32_t way = 0; way < WAYS; ++way) {
        set.counts[way].store(count(set, way) / 2, std::memory_order_relaxed);
      }
    }
  }

  std::array<Set, SETS> sets_;
  uint64_t total_ = 0;
};

}  // namespace penstock
