// Eviction: which object leaves when there is no room. S3-FIFO (Yang et al., SOSP 2023) by bytes, with a
// small queue whose share adapts. A pure class: it owns nothing, frees nothing, reads no clock.
//
// A new object enters the small queue. Leaving it, an object hit at least twice meanwhile moves to the main
// queue, any other is evicted; the main queue gives an object one more round per hit (at most three). An
// object that comes back while the ghosts still remember it enters the main queue at once.
//
// The share of the small queue (S3-FIFO: 10 %) follows the marginal gain of room: an object asked for again
// that had left a queue so lately that a queue larger by MARGIN would still have it is a vote for that
// queue, and moves the border by a fraction of the object's bytes. Measured in cache/README.md.
//
// Hits are counted by the owner in freq(node), a relaxed atomic that saturates at FREQ_MAX; nothing else is
// touched on a hit. All calls here need the owner's lock. Every call is O(1) amortised; one evict() looks at
// REPRIEVES_MAX objects at most.
//
// Traits: static functions over Node*: hash, bytes (constant while queued), freq → std::atomic<uint8_t>&,
// prev/next → Node*&, queue → uint8_t&.
#pragma once

#include "cache/ghost.h"
#include "src/base/assert.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace penstock {

inline constexpr uint8_t FREQ_MAX = 3;

// A hit, from any thread. Writes only while the count still grows, so a hot object's line stays shared.
// Two hits at once may count as one.
inline void count_hit(std::atomic<uint8_t>& freq) {
  const uint8_t seen = freq.load(std::memory_order_relaxed);
  if (seen < FREQ_MAX) freq.store(static_cast<uint8_t>(seen + 1), std::memory_order_relaxed);
}

template <typename Node, typename Traits>
class Eviction {
 public:
  explicit Eviction(uint64_t ghosts_max) : ghosts_(ghosts_max) {}

  // How many bytes the owner will hold at most. The owner evicts; this only sets the proportions.
  void set_capacity(uint64_t bytes) {
    capacity_ = bytes;
    small_target_ = std::clamp(bytes / 10, small_min(), small_max());
    ghosts_.set_window(bytes - bytes / 10);
  }

  // How many evicted ones may be remembered at most. Memory grows towards it only as needed.
  void set_ghosts_max(uint64_t ghosts_max) { ghosts_.set_records_max(ghosts_max); }

  // REQUIRES: not queued. The owner made room before (evict()), so that a new one is never the victim.
  void insert(Node* node) {
    const GhostSet::Found ghost = ghosts_.take(Traits::hash(node));
    uint8_t to = SMALL;
    if (ghost.hit) {
      adapt(ghost, Traits::bytes(node));
      to = MAIN;
    } else if (!evicted_any_ && queues_[SMALL].bytes >= small_target_) {
      to = MAIN;  // still filling up: there is no reason yet to keep the small queue small
    }
    Traits::freq(node).store(0, std::memory_order_relaxed);
    push(to, node);
  }

  // REQUIRES: queued.
  void remove(Node* node) { unlink(node); }

  // Puts `fresh` in the place of `old`, with its rank. REQUIRES: old queued, fresh not.
  void replace(Node* old, Node* fresh) {
    const uint8_t at = Traits::queue(old);
    const uint8_t freq = Traits::freq(old).load(std::memory_order_relaxed);
    Queue& queue = queues_[at];
    Node* older = Traits::next(old);
    unlink(old);
    Traits::freq(fresh).store(freq, std::memory_order_relaxed);
    Traits::queue(fresh) = at;
    Node* newer = older != nullptr ? Traits::prev(older) : queue.tail;
    link_between(queue, newer, fresh, older);
  }

  // Takes out the object to be dropped, or nullptr where there is none.
  [[nodiscard]] Node* evict() {
    evicted_any_ = true;
    for (uint32_t reprieves = 0;;) {
      const bool from_main = queues_[SMALL].tail == nullptr || queues_[MAIN].bytes > capacity_ - small_target_;
      Queue& queue = queues_[from_main ? MAIN : SMALL];
      Node* node = queue.tail;
      if (node == nullptr) return nullptr;
      std::atomic<uint8_t>& freq = Traits::freq(node);
      const uint8_t hits = freq.load(std::memory_order_relaxed);
      const bool reprieved = hits >= (from_main ? 1 : PROMOTE_HITS) && reprieves < REPRIEVES_MAX;
      unlink(node);
      if (!reprieved) {
        ghosts_.add(Traits::hash(node), from_main ? MAIN : SMALL, Traits::bytes(node));
        return node;
      }
      ++reprieves;
      freq.store(from_main ? static_cast<uint8_t>(hits - 1) : 0, std::memory_order_relaxed);
      push(MAIN, node);
    }
  }

  // The next victim's neighbour-to-be, for walking in tests: oldest of a queue (0 small, 1 main).
  [[nodiscard]] Node* oldest(uint32_t queue) const { return queues_[queue].tail; }

  [[nodiscard]] uint64_t bytes() const { return queues_[SMALL].bytes + queues_[MAIN].bytes; }
  [[nodiscard]] uint64_t small_bytes() const { return queues_[SMALL].bytes; }
  [[nodiscard]] uint64_t small_target() const { return small_target_; }
  [[nodiscard]] uint64_t ghost_memory_bytes() const { return ghosts_.memory_bytes(); }

 private:
  static constexpr uint8_t SMALL = 0, MAIN = 1;
  static constexpr uint8_t PROMOTE_HITS = 2;      // S3-FIFO's "more than once" after the insertion
  static constexpr uint32_t REPRIEVES_MAX = 256;  // bounds one evict(): then the next goes whatever its hits
  static constexpr uint64_t MARGIN_DIVISOR = 20;  // a queue larger by 5 % of the capacity
  struct Queue {
    Node* head = nullptr;  // newest
    Node* tail = nullptr;  // oldest
    uint64_t bytes = 0;
  };

  [[nodiscard]] uint64_t small_min() const { return std::max<uint64_t>(1, capacity_ / 50); }
  [[nodiscard]] uint64_t small_max() const { return std::max<uint64_t>(1, capacity_ - capacity_ / 10); }

  void adapt(const GhostSet::Found& ghost, uint64_t bytes) {
    if (ghost.age >= std::max<uint64_t>(1, capacity_ / MARGIN_DIVISOR)) return;
    adapt_rest_ += bytes * 3;
    const uint64_t step = adapt_rest_ / 10;
    adapt_rest_ %= 10;
    if (ghost.queue == SMALL) {
      small_target_ = std::min(small_target_ + step, small_max());
    } else {
      small_target_ = std::max(small_target_ - std::min(step, small_target_), small_min());
    }
  }

  void push(uint8_t to, Node* node) {
    Traits::queue(node) = to;
    link_between(queues_[to], nullptr, node, queues_[to].head);
  }

  void link_between(Queue& queue, Node* newer, Node* node, Node* older) {
    Traits::prev(node) = newer;
    Traits::next(node) = older;
    (newer != nullptr ? Traits::next(newer) : queue.head) = node;
    (older != nullptr ? Traits::prev(older) : queue.tail) = node;
    queue.bytes += Traits::bytes(node);
  }

  void unlink(Node* node) {
    Queue& queue = queues_[Traits::queue(node)];
    Node* newer = Traits::prev(node);
    Node* older = Traits::next(node);
    ASSERT(newer != nullptr || queue.head == node);
    (newer != nullptr ? Traits::next(newer) : queue.head) = older;
    (older != nullptr ? Traits::prev(older) : queue.tail) = newer;
    queue.bytes -= Traits::bytes(node);
    Traits::prev(node) = Traits::next(node) = nullptr;
  }

  uint64_t capacity_ = 0;
  uint64_t small_target_ = 1;
  uint64_t adapt_rest_ = 0;  // tenths of a byte not yet applied, so that small objects count too
  bool evicted_any_ = false;
  Queue queues_[2];
  GhostSet ghosts_;
};

}  // namespace penstock
