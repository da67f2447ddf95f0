#include "src/log/drain/string_table.h"

#include "src/base/assert.h"
#include "src/base/hash.h"

namespace penstock {
namespace {
constexpr size_t PLACES_MIN = 1024;
}

StringTable::StringTable(uint32_t ids_max, size_t bytes_max, uint64_t seed)
    : ids_max_(ids_max), bytes_max_(bytes_max), seed_(seed), places_(PLACES_MIN, 0) {
  ASSERT(bytes_max_ <= UINT32_MAX);
}

std::string_view StringTable::at(uint32_t id) const {
  ASSERT(id > 0 && id <= entries_.size());
  const Entry& entry = entries_[id - 1];
  return std::string_view(bytes_).substr(entry.offset, entry.size);
}

std::optional<uint32_t> StringTable::id_of(std::string_view text) {
  if (text.empty()) return 0;
  const uint64_t hash = hash_bytes(text, seed_);
  const size_t mask = places_.size() - 1;
  size_t place = hash & mask;
  for (; places_[place] != 0; place = (place + 1) & mask) {
    const uint32_t id = places_[place];
    if (entries_[id - 1].hash == hash && at(id) == text) return id;
  }
  if (entries_.size() >= ids_max_ || bytes_.size() + text.size() > bytes_max_) return std::nullopt;
  entries_.push_back({hash, static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(text.size())});
  bytes_.append(text);
  places_[place] = count();
  if (entries_.size() * 2 > places_.size()) grow();
  return count();
}

void StringTable::grow() {
  places_.assign(places_.size() * 2, 0);
  const size_t mask = places_.size() - 1;
  for (uint32_t id = 1; id <= count(); ++id) {
    size_t place = entries_[id - 1].hash & mask;
    while (places_[place] != 0) place = (place + 1) & mask;
    places_[place] = id;
  }
}

void StringTable::clear() {
  entries_.clear();
  bytes_.clear();
  places_.assign(PLACES_MIN, 0);
}

}  // namespace penstock
