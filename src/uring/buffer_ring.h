// BufferRing: receive buffers lent to the kernel, which picks one when bytes arrive.
//
// Owned by one Ring's owner, same thread. An idle connection holds no buffer. give() only queues;
// publish() makes what was given visible to the kernel, once a turn.
#pragma once

#include "src/base/assert.h"
#include "src/base/result.h"
#include "src/uring/ring.h"

#include <atomic>
#include <cstdint>
#include <memory>

namespace penstock {

class BufferRing {
 public:
  // REQUIRES: `count` is a power of two ≤ 32768; the ring is not started; `group` is unused on it.
  [[nodiscard]] static Result<std::unique_ptr<BufferRing>> open(Ring& ring, uint16_t group, uint32_t count,
                                                                uint32_t bytes);
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;
  // The kernel stops using the ring when the Ring is closed: destroy that first.
  ~BufferRing();

  [[nodiscard]] const char* data(uint32_t buffer) const { return memory_ + static_cast<size_t>(buffer) * bytes_; }
  [[nodiscard]] uint16_t group() const { return group_; }
  [[nodiscard]] uint32_t count() const { return count_; }

  void give(uint32_t buffer) {
    io_uring_buf& slot = slots_[tail_ & (count_ - 1)];
    slot.addr = reinterpret_cast<uint64_t>(memory_ + static_cast<size_t>(buffer) * bytes_);
    slot.len = bytes_;
    slot.bid = static_cast<uint16_t>(buffer);
    ++tail_;
  }
  void publish() {
    // Pairs with the kernel's acquire load: the slots are whole before the tail moves.
    std::atomic_ref(*shared_tail_).store(tail_, std::memory_order_release);
  }

 private:
  BufferRing() = default;

  io_uring_buf* slots_ = nullptr;
  uint16_t* shared_tail_ = nullptr;
  char* memory_ = nullptr;
  uint32_t count_ = 0;
  uint32_t bytes_ = 0;
  uint16_t tail_ = 0;
  uint16_t group_ = 0;
  size_t slots_bytes_ = 0;
  size_t memory_bytes_ = 0;
};

}  // namespace penstock
