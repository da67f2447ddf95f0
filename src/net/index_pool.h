// IndexPool<T>: a bounded set of plain T, lent out by index, in one allocation made at construction; pages never taken
// are never touched. For the small things that lists link by index. One owner thread.
#pragma once

#include "src/base/assert.h"

#include <cstdint>
#include <sys/mman.h>
#include <type_traits>

namespace penstock {

inline constexpr uint32_t NO_INDEX = UINT32_MAX;

// T has a member `uint32_t next`, which links free ones here and is the holder's own while lent out.
template <typename T>
class IndexPool {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  explicit IndexPool(uint32_t count_max) : count_max_(count_max) {
    ASSERT(count_max > 0 && count_max < NO_INDEX);
    void* memory = ::mmap(nullptr, sizeof(T) * count_max, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT(memory != MAP_FAILED);
    items_ = static_cast<T*>(memory);
  }
  IndexPool(const IndexPool&) = delete;
  IndexPool& operator=(const IndexPool&) = delete;
  ~IndexPool() { ::munmap(items_, sizeof(T) * count_max_); }

  // A fresh T, or NO_INDEX when all are lent out.
  [[nodiscard]] uint32_t take() {
    uint32_t index = free_;
    if (index != NO_INDEX) {
      free_ = items_[index].next;
    } else if (fresh_ < count_max_) {
      index = fresh_++;
    } else {
      return NO_INDEX;
    }
    ++count_;
    items_[index] = T{};
    items_[index].next = NO_INDEX;
    return index;
  }
  void give(uint32_t index) {
    ASSERT(index < fresh_ && count_ != 0);
    items_[index].next = free_;
    free_ = index;
    --count_;
  }
  void prefetch(uint32_t index) const { __builtin_prefetch(items_ + index); }  // any index: nothing is read
  [[nodiscard]] T& operator[](uint32_t index) { return items_[index]; }
  [[nodiscard]] const T& operator[](uint32_t index) const { return items_[index]; }
  [[nodiscard]] uint32_t count() const { return count_; }
  [[nodiscard]] uint32_t free_count() const { return count_max_ - count_; }

 private:
  T* items_ = nullptr;
  uint32_t count_max_;
  uint32_t count_ = 0;
  uint32_t fresh_ = 0;
  uint32_t free_ = NO_INDEX;
};

}  // namespace penstock
