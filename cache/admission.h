// Admission: has this key been asked for often enough lately to be worth caching?
//
// Counts misses per key within a window (default: 2 within 10 s), in a table of fixed size shared by
// all reactors, because the second request may come to another one. Lock-free: one word per
// key, changed by compare-and-swap; only misses come here. A key is 32 bits of its keyed hash, so a
// stranger may be counted in its place once in a billion. When too many keys come within
// one window the oldest of a set of eight is forgotten: such a key is admitted later, or not.
#pragma once

#include "src/base/time.h"

#include <atomic>
#include <cstdint>
#include <memory>

namespace penstock {

class Admission {
 public:
  struct Policy {
    uint32_t hits = 2;  // 0: never admit; 1: always; at most 255
    Duration window = seconds(10);
  };
  struct Answer {
    bool admitted = false;
    uint32_t seen = 0;  // requests within the window, this one included; 0 where nothing is counted
  };

  // `keys` is rounded up to a power of two (8 bytes each).
  explicit Admission(uint32_t keys = 1 << 17);
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // Counts one miss of `hash` and says whether it is admitted. Any thread.
  [[nodiscard]] Answer miss(uint64_t hash, MonoTime now);
  // What miss() would say, without counting.
  [[nodiscard]] Answer peek(uint64_t hash, MonoTime now) const;

  // Live. Any thread.
  void set_policy(const Policy& policy);
  [[nodiscard]] Policy policy() const;

 private:
  struct alignas(64) Set {
    std::atomic<uint64_t> words[8];
  };
  std::unique_ptr<Set[]> sets_;
  uint64_t mask_;
  std::atomic<uint64_t> policy_;  // hits and window in one word, so that they change together
};

}  // namespace penstock
