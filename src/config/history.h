// ConfigHistory: who changed the configuration when. Kept by the supervisor in memory, bounded; the newest last.
#pragma once

#include "src/base/time.h"
#include "src/config/tree.h"

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace penstock {

struct GenerationRecord {
  uint64_t generation = 0;
  WallTime when;
  std::string who;                  // "start", "file /etc/penstock.conf", "uid 0 pid 4711"
  std::vector<TreeChange> changes;  // at most CHANGES_MAX of them
  size_t changes_left_out = 0;
};

class ConfigHistory {
 public:
  static constexpr size_t RECORDS_MAX = 1000;
  static constexpr size_t CHANGES_MAX = 100;

  // `after` has become the running tree in place of `before`. The oldest record goes when there are RECORDS_MAX.
  // REQUIRES: after.generation() is larger than that of every record.
  void commit(const Tree& before, const Tree& after, WallTime when, std::string who);

  [[nodiscard]] const std::deque<GenerationRecord>& records() const { return records_; }
  // The record of that generation, or null.
  [[nodiscard]] const GenerationRecord* find(uint64_t generation) const;

 private:
  std::deque<GenerationRecord> records_;
};

}  // namespace penstock
