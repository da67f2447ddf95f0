// SuffixIndex: which directories hold no name that ends in a coding's suffix (.br, .gz, .zst), so that nobody asks the
// file system for a precompressed sibling that cannot be there. Three look-ups in vain of a name that no directory
// entry cache holds are three trips to another thread: more than all else that a cold file costs.
//
// What was learnt holds for one version of a directory (file_info.h): a name that comes or goes makes another version,
// and the next ask() of it knows nothing again. A bounded table, the newer of two that collide stays. One per reactor.
#pragma once

#include "src/files/file_info.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace penstock {

class SuffixIndex {
 public:
  static constexpr uint8_t ALL = 0xff;

  struct Answer {
    uint8_t possible = ALL;  // coding_bit()s of the suffixes that names may end in
    bool scan = false;       // the first who asks finds out: read_suffixes(), then learn()
  };
  // REQUIRES: `version` is known and no younger than a change that its time stamp could hide.
  [[nodiscard]] Answer ask(const DirectoryVersion& version);
  // `present`: what the scan that ask() called for has found. Nothing where the version has moved on.
  void learn(const DirectoryVersion& version, uint8_t present);

 private:
  static constexpr size_t SLOTS = 1024;  // 32 KiB
  struct Slot {
    DirectoryVersion version;
    uint8_t possible = ALL;
    bool asked = false;
  };
  [[nodiscard]] Slot& slot_of(const DirectoryVersion& version);

  std::array<Slot, SLOTS> slots_;
};

}  // namespace penstock
