// ValidityTable: cells by which one store makes every dependent cache entry stale at once.
//
// An entry carries {cell, value}; it is fresh while the cell still holds that value. The file watcher
// bumps the cell of a file (or of a directory, as it likes) and is done: no table is walked, no lock is
// taken. Values only grow, also across free() and allocate(), so a reused cell never revives an entry
// (a cell would have to be bumped 2^32 times within one entry's life).
// Thread-safe. fresh() and bump() are lock-free; allocate() and free() take a mutex.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace penstock {

struct Validity {
  uint32_t cell = 0;  // 0 is the cell that never changes: for entries that depend on no file
  uint32_t value = 0;
  bool operator==(const Validity&) const = default;
};

class ValidityTable {
 public:
  explicit ValidityTable(uint32_t cells_max);
  ValidityTable(const ValidityTable&) = delete;
  ValidityTable& operator=(const ValidityTable&) = delete;

  // A cell of the caller's own and its present value, or cell 0 when all are taken (which the caller
  // must read as "cannot be watched"). Cold path.
  [[nodiscard]] Validity allocate();
  // Bumps the cell and takes it back. REQUIRES: from allocate(), not freed since.
  void free(uint32_t cell);

  // The present value: read it BEFORE reading the file, so that a change while reading is seen.
  [[nodiscard]] Validity current(uint32_t cell) const { return {cell, cells_[cell].load(std::memory_order_acquire)}; }
  // Everything that depends on the cell is stale from here on. REQUIRES: cell != 0, allocated.
  void bump(uint32_t cell) { cells_[cell].fetch_add(1, std::memory_order_release); }

  [[nodiscard]] bool fresh(Validity validity) const {
    return cells_[validity.cell].load(std::memory_order_acquire) == validity.value;
  }

  [[nodiscard]] uint32_t cells_max() const { return cells_max_; }
  [[nodiscard]] uint32_t cells_used() const;

 private:
  uint32_t cells_max_;
  std::unique_ptr<std::atomic<uint32_t>[]> cells_;
  mutable std::mutex mutex_;
  uint32_t fresh_ = 1;          // cells from here on were never allocated
  std::vector<uint32_t> free_;  // taken back, last first
};

}  // namespace penstock
