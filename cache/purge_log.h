// PurgeLog: purges that have been ordered but not yet swept out of the table.
//
// Each purge has a number. An entry knows up to which number it was found not to be concerned; a lookup that
// meets an entry behind the log's number checks it against the purges in between. So a purge takes effect
// when it is appended here, whatever it concerns, and the table is swept at leisure.
// Immutable: a purge makes a copy with one more record, which the table publishes and whose
// predecessor it retires. Bounded: at RECORDS_MAX the table sweeps before it appends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

enum class PurgeKind : uint8_t { URL, PREFIX, ALL };

struct PurgeRecord {
  uint64_t number = 0;
  PurgeKind kind = PurgeKind::ALL;
  std::string text;  // canonical name or the beginning of one
  [[nodiscard]] bool concerns(std::string_view canonical) const {
    switch (kind) {
      case PurgeKind::URL:
        return canonical == text;
      case PurgeKind::PREFIX:
        return canonical.starts_with(text);
      case PurgeKind::ALL:
        return true;
    }
    return true;
  }
};

struct PurgeLog {
  static constexpr size_t RECORDS_MAX = 256;

  uint64_t number = 0;               // of the last purge ever ordered
  uint64_t base = 0;                 // purges up to here are no longer recorded
  std::vector<PurgeRecord> records;  // base < number, ascending

  // Whether something checked up to `mark` is concerned by a later purge. What is older than the records
  // reach counts as concerned.
  [[nodiscard]] bool concerns(std::string_view canonical, uint64_t mark) const {
    if (mark >= number) return false;
    if (mark < base) return true;
    for (size_t i = records.size(); i-- > 0 && records[i].number > mark;) {
      if (records[i].concerns(canonical)) return true;
    }
    return false;
  }
};

}  // namespace penstock
