// FixedPool<T>: a bounded set of T in one allocation made at construction, lent out by handle.
//
// One owner thread. take() and give() are O(1) and never allocate; the slot last given is taken
// first, because it is the one still in the cache. Pages that were never taken are never touched,
// so a large bound costs address space only. The answer at the limit is nullptr.
#pragma once

#include "src/base/assert.h"
#include "src/base/handle.h"
#include "src/base/reserve.h"

#include <cstddef>
#include <cstdint>
#include <new>
#include <sys/mman.h>
#include <utility>

namespace penstock {

template <typename T>
class FixedPool {
 public:
  explicit FixedPool(uint32_t count_max) : count_max_(count_max) {
    ASSERT(count_max > 0 && count_max < UINT32_MAX);
    bytes_ = sizeof(Slot) * count_max;
    slots_ = static_cast<Slot*>(reserve_memory(bytes_));
  }
  FixedPool(const FixedPool&) = delete;
  FixedPool& operator=(const FixedPool&) = delete;
  ~FixedPool() {
    for (uint32_t i = 0; i < fresh_; ++i) {
      if (slots_[i].live) slots_[i].object()->~T();
    }
    ::munmap(slots_, bytes_);
  }

  // A new T(args...), or nullptr when all slots are lent out.
  template <typename... Args>
  [[nodiscard]] T* take(Args&&... args) {
    Slot* slot = nullptr;
    if (free_ != NONE) {
      slot = &slots_[free_];
      free_ = slot->next_free;
    } else if (fresh_ < count_max_) {
      slot = &slots_[fresh_++];
      slot->generation = 1;
    } else {
      return nullptr;
    }
    slot->live = true;
    ++count_;
    return new (slot->storage) T(std::forward<Args>(args)...);
  }

  // REQUIRES: `object` came from take() of this pool and was not given since.
  void give(T* object) {
    Slot* slot = slot_of(object);
    ASSERT(slot->live);
    object->~T();
    slot->live = false;
    ++slot->generation;
    slot->next_free = free_;
    free_ = static_cast<uint32_t>(slot - slots_);
    --count_;
  }

  // The object, or nullptr where the handle is stale or was never made.
  [[nodiscard]] T* find(Handle handle) {
    if (handle.index >= fresh_) return nullptr;
    Slot& slot = slots_[handle.index];
    return slot.live && slot.generation == handle.generation ? slot.object() : nullptr;
  }

  [[nodiscard]] const T* find(Handle handle) const {
    if (handle.index >= fresh_) return nullptr;
    const Slot& slot = slots_[handle.index];
    return slot.live && slot.generation == handle.generation ? slot.object() : nullptr;
  }

  // The object in the slot, whatever its generation; nullptr where none is lent out. For lists that link by index.
  [[nodiscard]] T* at(uint32_t index) {
    return index < fresh_ && slots_[index].live ? slots_[index].object() : nullptr;
  }
  [[nodiscard]] const T* at(uint32_t index) const {
    return index < fresh_ && slots_[index].live ? slots_[index].object() : nullptr;
  }

  // Brings what give() reads of its slot near. REQUIRES: as for give(), though nothing is read now.
  void prefetch_slot(const T* object) const { __builtin_prefetch(&slot_of(const_cast<T*>(object))->generation); }
  // Brings the object in the slot near for who will soon use it; reads nothing, so any index will do.
  void prefetch(uint32_t index) const {
    const auto* bytes = reinterpret_cast<const char*>(slots_ + index);
    for (size_t at = 0; at < sizeof(Slot); at += 64) __builtin_prefetch(bytes + at);
  }

  [[nodiscard]] Handle handle_of(const T* object) const {
    const Slot* slot = slot_of(const_cast<T*>(object));
    return {static_cast<uint32_t>(slot - slots_), slot->generation};
  }

  [[nodiscard]] uint32_t count() const { return count_; }
  [[nodiscard]] uint32_t count_max() const { return count_max_; }

  // Calls visit(T&) for every object lent out, in slot order; visit may give() the one it got.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (uint32_t i = 0; i < fresh_; ++i) {
      if (slots_[i].live) visit(*slots_[i].object());
    }
  }

 private:
  static constexpr uint32_t NONE = UINT32_MAX;
  struct Slot {
    alignas(T) unsigned char storage[sizeof(T)];
    uint32_t generation;
    uint32_t next_free;
    bool live;
    T* object() { return std::launder(reinterpret_cast<T*>(storage)); }
    const T* object() const { return std::launder(reinterpret_cast<const T*>(storage)); }
  };
  static_assert(offsetof(Slot, storage) == 0, "slot_of() casts an object's address to its slot");

  Slot* slot_of(T* object) const { return reinterpret_cast<Slot*>(object); }

  Slot* slots_ = nullptr;
  size_t bytes_ = 0;
  uint32_t count_max_;
  uint32_t count_ = 0;
  uint32_t fresh_ = 0;  // slots below this index were taken at least once
  uint32_t free_ = NONE;
};

}  // namespace penstock
