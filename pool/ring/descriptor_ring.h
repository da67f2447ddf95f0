// DescriptorRing: the two ends of one ring of 64-byte descriptors in shared memory; one producer, one consumer.
//
// Either end may belong to somebody hostile. Each keeps its own index in private memory and takes from the other's
// only what is possible; anything else is `broken()`, and from then on the end does nothing more. A descriptor is
// copied once; the copy is what is looked at.
//
// Pairing of the atomics: publish() (release) with available() (acquire) for the descriptors and the arena bytes behind
// them; release() (release) with room() (acquire) for reuse; the full fences in publish() and raise_flag() for the
// doorbell: a consumer that goes to sleep without having seen what was published has stored the head before its fence,
// so that the producer sees behind its own how far it had come.
#pragma once

#include "pool/abi/worker_abi.h"
#include "src/base/assert.h"

#include <atomic>
#include <cstdint>

namespace penstock {

// A word by which one end asks the other to ring its doorbell. raise_flag() comes before the last look at what the
// other end may have changed: its fence pairs with the one that the other has between that change and its look here.
inline void raise_flag(uint32_t& word) {
  std::atomic_ref(word).store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
// Writes only where there is something to write: the other end reads the line all the time.
inline void lower_flag(uint32_t& word) {
  const std::atomic_ref flag(word);
  if (flag.load(std::memory_order_relaxed) != 0) flag.store(0, std::memory_order_relaxed);
}

class DescriptorProducer {
 public:
  // `tail` is ours to write; `head` and `sleeping` are the consumer's. Starts at what `tail` holds.
  DescriptorProducer(penstock_descriptor* ring, uint32_t entries, uint32_t* tail, uint32_t* head, uint32_t* sleeping)
      : ring_(ring), mask_(entries - 1), tail_word_(*tail), head_word_(*head), sleeping_word_(*sleeping) {
    tail_ = tail_word_.load(std::memory_order_relaxed);
    head_seen_ = tail_;
  }

  // How many put() have room.
  [[nodiscard]] uint32_t room() {
    if (tail_ - head_seen_ <= mask_ / 2)
      return mask_ + 1 - (tail_ - head_seen_);  // enough: leave the other's line alone
    refresh();
    return broken_ ? 0 : mask_ + 1 - (tail_ - head_seen_);
  }
  // What the consumer has taken so far.
  [[nodiscard]] uint32_t consumed() {
    refresh();
    return head_seen_;
  }
  [[nodiscard]] uint32_t known_consumed() const { return head_seen_; }  // by then, without another look
  [[nodiscard]] uint32_t produced() const { return tail_; }
  // REQUIRES: room() > 0.
  void put(const penstock_descriptor& descriptor) { ring_[tail_++ & mask_] = descriptor; }
  // Shows what was put to the consumer. True: it sleeps and must be woken; who was told so and has not taken what was
  // there by then is awake already, only has not run yet.
  [[nodiscard]] bool publish() {
    if (tail_word_.load(std::memory_order_relaxed) == tail_) return false;
    tail_word_.store(tail_, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    // Looked at each time: more than a ring full behind the last one, it has been taken.
    rung_ = rung_ && tail_ - rung_at_ <= mask_;
    if (sleeping_word_.load(std::memory_order_relaxed) == 0) return false;
    if (rung_ && rung_at_ - head_word_.load(std::memory_order_relaxed) - 1 <= mask_) return false;
    rung_ = true;
    rung_at_ = tail_;
    return true;
  }
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  void refresh() {
    const uint32_t head = head_word_.load(std::memory_order_acquire);
    // Between what we knew and what we wrote, or somebody lies.
    if (head - head_seen_ > tail_ - head_seen_) {
      broken_ = true;
    } else {
      head_seen_ = head;
    }
  }

  penstock_descriptor* ring_;
  uint32_t mask_;
  uint32_t tail_ = 0;
  uint32_t head_seen_ = 0;
  uint32_t rung_at_ = 0;  // tail_ when the consumer was last to be woken
  bool rung_ = false;     // it may not have taken all up to there
  bool broken_ = false;
  std::atomic_ref<uint32_t> tail_word_;
  std::atomic_ref<uint32_t> head_word_;
  std::atomic_ref<uint32_t> sleeping_word_;
};

class DescriptorConsumer {
 public:
  // `head` and `sleeping` are ours to write; `tail` is the producer's. Starts at what `head` holds.
  DescriptorConsumer(const penstock_descriptor* ring, uint32_t entries, uint32_t* head, uint32_t* tail,
                     uint32_t* sleeping)
      : ring_(ring), mask_(entries - 1), head_word_(*head), tail_word_(*tail), sleeping_(*sleeping) {
    head_ = head_word_.load(std::memory_order_relaxed);
    tail_seen_ = head_;
  }

  // How many take() there are.
  [[nodiscard]] uint32_t available() {
    if (tail_seen_ != head_) return tail_seen_ - head_;
    const uint32_t tail = tail_word_.load(std::memory_order_acquire);
    if (tail - head_ > mask_ + 1) {
      broken_ = true;
      return 0;
    }
    if (!broken_) tail_seen_ = tail;
    return tail_seen_ - head_;
  }
  // Whether there may be more than was taken. What it says decides nothing but when to look.
  [[nodiscard]] bool shows_more() const { return tail_word_.load(std::memory_order_relaxed) != head_; }
  // All that available() saw has been taken.
  [[nodiscard]] bool drained() const { return tail_seen_ == head_; }
  // A copy of the next one. REQUIRES: available() > 0.
  [[nodiscard]] penstock_descriptor take() {
    ASSERT(tail_seen_ != head_);
    return ring_[head_++ & mask_];
  }
  // What was taken may be written over, and what it named in the producer's arena too.
  void release() {
    if (head_word_.load(std::memory_order_relaxed) != head_) head_word_.store(head_, std::memory_order_release);
  }
  // Before this end waits for its doorbell: false if there is something to take after all. lower_flag(sleeping) comes
  // after either. REQUIRES: what was taken is released; the doorbell that rang for it may not ring again before.
  [[nodiscard]] bool may_sleep() {
    raise_flag(sleeping_);
    return tail_word_.load(std::memory_order_relaxed) == head_;
  }
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  const penstock_descriptor* ring_;
  uint32_t mask_;
  uint32_t head_ = 0;
  uint32_t tail_seen_ = 0;
  bool broken_ = false;
  std::atomic_ref<uint32_t> head_word_;
  std::atomic_ref<uint32_t> tail_word_;
  uint32_t& sleeping_;
};

}  // namespace penstock
