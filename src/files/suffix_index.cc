#include "src/files/suffix_index.h"

#include <bit>
#include <utility>

namespace penstock {

SuffixIndex::Slot& SuffixIndex::slot_of(const DirectoryVersion& version) {
  static_assert(std::has_single_bit(SLOTS));
  // Fibonacci hashing: inodes of neighbours differ in their low bits only.
  const uint64_t mixed = (version.id.ino ^ std::rotl(version.id.dev, 32)) * 0x9E3779B97F4A7C15ULL;
  return slots_[mixed >> (64 - std::countr_zero(SLOTS))];
}

SuffixIndex::Answer SuffixIndex::ask(const DirectoryVersion& version) {
  Slot& slot = slot_of(version);
  if (slot.version != version) slot = {.version = version};
  return {.possible = slot.possible, .scan = !std::exchange(slot.asked, true)};
}

void SuffixIndex::learn(const DirectoryVersion& version, uint8_t present) {
  Slot& slot = slot_of(version);
  if (slot.version == version) slot.possible = present;
}

}  // namespace penstock
