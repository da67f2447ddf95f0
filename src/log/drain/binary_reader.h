// BinaryReader: blocks of a binary access log (layout: binary_log.h), checked.
//
// Reads foreign bytes: every count, size and checksum is verified before a payload is handed out, damage is
// skipped to the next whole block and counted. Pure; views into the caller's bytes.
#pragma once

#include "src/base/result.h"
#include "src/log/drain/binary_log.h"
#include "src/log/drain/entry.h"

#include <cstdint>
#include <string_view>

namespace penstock {

class BinaryReader {
 public:
  // REQUIRES: `file` outlives this. Fails where it does not begin with a FileHeader of a known version.
  [[nodiscard]] static Result<BinaryReader> open(std::string_view file);

  struct Block {
    BlockHeader header{};
    std::string_view payload;
    bool after_damage = false;  // bytes were skipped before it
  };
  // The next whole block; false at the end.
  [[nodiscard]] bool next(Block& block);

  [[nodiscard]] uint64_t skipped_bytes() const { return skipped_bytes_; }

 private:
  explicit BinaryReader(std::string_view rest) : rest_(rest) {}
  [[nodiscard]] bool block_at_front(Block& block) const;

  std::string_view rest_;
  uint64_t skipped_bytes_ = 0;
};

// Takes the next string off a STRINGS payload; false where it is not whole.
[[nodiscard]] bool take_string(std::string_view& payload, std::string_view& text);

// Record number `index` of a RECORDS payload, copied out. REQUIRES: index < header.count.
[[nodiscard]] BinaryRecord record_at(const BinaryReader::Block& block, uint32_t index);

// The numbers of a record; its strings are the caller's business.
[[nodiscard]] AccessEntry entry_of(const BinaryRecord& record, const BlockHeader& header);
// Likewise, all that a binary log has, over those of the record before it.
void set_numbers(AccessEntry& entry, const BinaryRecord& record, const BlockHeader& header);

}  // namespace penstock
