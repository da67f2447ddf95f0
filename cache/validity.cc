#include "cache/validity.h"

#include "src/base/assert.h"

namespace penstock {

ValidityTable::ValidityTable(uint32_t cells_max)
    : cells_max_(cells_max), cells_(std::make_unique<std::atomic<uint32_t>[]>(cells_max)) {
  ASSERT(cells_max > 0);
}

Validity ValidityTable::allocate() {
  const std::lock_guard lock(mutex_);
  if (!free_.empty()) {
    const uint32_t cell = free_.back();
    free_.pop_back();
    return current(cell);
  }
  if (fresh_ == cells_max_) return {};
  return current(fresh_++);
}

void ValidityTable::free(uint32_t cell) {
  ASSERT(cell != 0 && cell < cells_max_);
  bump(cell);  // nothing that still names it may pass for fresh under its next owner
  const std::lock_guard lock(mutex_);
  free_.push_back(cell);
}

uint32_t ValidityTable::cells_used() const {
  const std::lock_guard lock(mutex_);
  return fresh_ - 1 - static_cast<uint32_t>(free_.size());
}

}  // namespace penstock
