// Invariants: a record with hash 0 is empty. Set index and identity come from the same 32 bits, so a
// record can be placed again when the table doubles. Clocks wrap after 2^31 ticks = 128 windows at
// least; a record that outlives that without being displaced may be taken for a young one, which costs
// one wrong promotion.
#include "cache/ghost.h"

#include <algorithm>
#include <bit>

namespace penstock {
namespace {

// The upper half: the lower bits place entries in the table's index.
uint32_t identity_of(uint64_t hash) {
  const auto identity = static_cast<uint32_t>(hash >> 32);
  return identity == 0 ? 1 : identity;
}

}  // namespace

GhostSet::GhostSet(uint64_t records_max) : sets_(std::make_unique<Set[]>(sets_count_)) { set_records_max(records_max); }

void GhostSet::set_records_max(uint64_t records_max) {
  sets_max_ = std::bit_ceil(std::max<uint64_t>(records_max, 64)) / 8;
}

void GhostSet::set_window(uint64_t bytes) {
  const uint64_t unit = std::max<uint64_t>(1, bytes >> 24);
  if (unit != unit_) std::fill_n(sets_.get(), sets_count_, Set{});
  unit_ = unit;
  window_ = bytes;
  window_units_ = static_cast<uint32_t>(bytes / unit);
}

void GhostSet::add(uint64_t hash, uint32_t queue, uint64_t bytes) {
  clock_[queue] += bytes;
  const auto ticks = static_cast<uint32_t>(clock_[queue] / unit_) & STAMP_MASK;
  place(Record{identity_of(hash), ticks | queue << 31}, true);
}

void GhostSet::place(Record record, bool may_grow) {
  Set& set = set_of(record.hash);
  Record* oldest = &set.records[0];
  for (Record& candidate : set.records) {
    if (candidate.hash == 0 || candidate.hash == record.hash || age_of(candidate) > window_units_) {
      candidate = record;
      return;
    }
    if (age_of(candidate) > age_of(*oldest)) oldest = &candidate;
  }
  if (may_grow && sets_count_ < sets_max_) {
    grow();
    place(record, false);
    return;
  }
  *oldest = record;
}

void GhostSet::grow() {
  const std::unique_ptr<Set[]> old = std::move(sets_);
  const uint64_t old_count = sets_count_;
  sets_count_ *= 2;
  sets_ = std::make_unique<Set[]>(sets_count_);
  for (uint64_t i = 0; i < old_count; ++i) {
    for (const Record& record : old[i].records) {
      if (record.hash != 0 && age_of(record) <= window_units_) place(record, false);
    }
  }
}

GhostSet::Found GhostSet::take(uint64_t hash) {
  const uint32_t identity = identity_of(hash);
  for (Record& record : set_of(identity).records) {
    if (record.hash != identity) continue;
    const uint32_t age = age_of(record);
    const uint32_t queue = record.stamp >> 31;
    record = Record{};
    if (age > window_units_) return {};
    return {true, queue, age * unit_};
  }
  return {};
}

}  // namespace penstock
