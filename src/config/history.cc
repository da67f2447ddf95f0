#include "src/config/history.h"

#include "src/base/assert.h"

#include <algorithm>

namespace penstock {

void ConfigHistory::commit(const Tree& before, const Tree& after, WallTime when, std::string who) {
  ASSERT(records_.empty() || records_.back().generation < after.generation());
  GenerationRecord record{after.generation(), when, std::move(who), after.changes_since(before), 0};
  if (record.changes.size() > CHANGES_MAX) {
    record.changes_left_out = record.changes.size() - CHANGES_MAX;
    record.changes.resize(CHANGES_MAX);
  }
  if (records_.size() == RECORDS_MAX) records_.pop_front();
  records_.push_back(std::move(record));
}

const GenerationRecord* ConfigHistory::find(uint64_t generation) const {
  const auto at = std::lower_bound(records_.begin(), records_.end(), generation,
                                   [](const GenerationRecord& record, uint64_t g) { return record.generation < g; });
  return at != records_.end() && at->generation == generation ? &*at : nullptr;
}

}  // namespace penstock
