// GhostSet: the hashes of what was lately evicted, in a table of bounded size; no keys, no bytes.
//
// Each record remembers from which of two queues the object left and when, on that queue's own clock:
// the bytes evicted from it so far. A record is forgotten when its queue has evicted `window` more
// bytes, or when its set of eight is full and it is the oldest. 8 bytes a record, one line a set.
// Grows by doubling while live records are being displaced, up to a bound. One thread at a time (the owner's lock).
#pragma once

#include <cstdint>
#include <memory>

namespace penstock {

class GhostSet {
 public:
  // At most `records_max` records (rounded up to a power of two ≥ 64).
  explicit GhostSet(uint64_t records_max);
  GhostSet(const GhostSet&) = delete;
  GhostSet& operator=(const GhostSet&) = delete;

  // Records live until `bytes` more were evicted from their queue. Forgets everything when it changes much.
  void set_window(uint64_t bytes);

  // Never gives memory back; bounds further growth.
  void set_records_max(uint64_t records_max);

  // Remembers that `hash` left `queue` (0 or 1) with so many bytes.
  void add(uint64_t hash, uint32_t queue, uint64_t bytes);

  struct Found {
    bool hit = false;
    uint32_t queue = 0;
    uint64_t age = 0;  // bytes evicted from that queue since
  };
  // Takes the record out, if there is one.
  [[nodiscard]] Found take(uint64_t hash);

  [[nodiscard]] uint64_t memory_bytes() const { return sets_count_ * sizeof(Set); }

 private:
  struct Record {
    uint32_t hash = 0;   // 0: empty
    uint32_t stamp = 0;  // queue in the top bit, clock in units below
  };
  struct alignas(64) Set {
    Record records[8];
  };
  static constexpr uint32_t STAMP_MASK = 0x7fffffff;

  [[nodiscard]] uint32_t age_of(const Record& record) const {
    return (static_cast<uint32_t>(clock_[record.stamp >> 31] / unit_) - record.stamp) & STAMP_MASK;
  }
  [[nodiscard]] Set& set_of(uint32_t hash) { return sets_[hash & (sets_count_ - 1)]; }
  void place(Record record, bool may_grow);
  void grow();

  uint64_t sets_max_;
  uint64_t sets_count_ = 8;
  std::unique_ptr<Set[]> sets_;
  uint64_t window_ = 0;
  uint64_t unit_ = 1;  // bytes per tick, so that a window is at most 2^24 ticks
  uint32_t window_units_ = 0;
  uint64_t clock_[2] = {0, 0};  // bytes evicted from each queue
};

}  // namespace penstock
