// PurgeLog: purges that have been ordered but not yet swept out of the table.
//
// Each purge has a number. An entry knows up to which number it was found not to be concerned; a lookup that
// meets an entry behind the log's number checks it against the purges in between. So a purge takes effect
// when it is appended here, whatever it concerns, and the table is swept at leisure.
// A soft purge does not take away what it concerns: it ends its lifetime (Entry::soften).
// Immutable: a purge makes a copy with one more record, which the table publishes and whose
// predecessor it retires. Bounded: at RECORDS_MAX the table sweeps before it appends.
#pragma once

#include "src/base/time.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

enum class PurgeKind : uint8_t { URL, PREFIX, ALL };

enum class PurgeMode : uint8_t { HARD, SOFT };

struct PurgeRecord {
  uint64_t number = 0;
  PurgeKind kind = PurgeKind::ALL;
  PurgeMode mode = PurgeMode::HARD;
  MonoTime ordered;  // what a soft one leaves may answer for its grace from here on
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

  // Whether something checked up to `mark` is taken away by a later purge. What is older than the records
  // reach counts as concerned.
  [[nodiscard]] bool concerns(std::string_view canonical, uint64_t mark) const {
    if (mark >= number) return false;
    return mark < base || first(PurgeMode::HARD, canonical, mark) != nullptr;
  }

  // The first of the later purges of this mode that concerns it, or nullptr.
  [[nodiscard]] const PurgeRecord* first(PurgeMode mode, std::string_view canonical, uint64_t mark) const {
    size_t at = records.size();
    while (at > 0 && records[at - 1].number > mark) --at;
    for (; at < records.size(); ++at) {
      if (records[at].mode == mode && records[at].concerns(canonical)) return &records[at];
    }
    return nullptr;
  }
};

}  // namespace penstock
