// BinaryWriter: finish records to blocks of the binary access log (layout: binary_log.h).
//
// Used by logd; one owner; no I/O. Bytes go to the caller's buffer in whole blocks. If that buffer is thrown
// away instead of written, call reset(): the tables must never be ahead of the file.
#pragma once

#include "src/base/time.h"
#include "src/log/drain/binary_log.h"
#include "src/log/drain/line_format.h"
#include "src/log/drain/string_table.h"
#include "src/log/ring_reader.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class BinaryWriter {
 public:
  explicit BinaryWriter(uint64_t hash_seed);

  // Opens a file or goes on in one: the header if it is empty, and empty tables either way.
  void start(LineBuffer& out, WallTime now, bool file_is_empty);
  // Empties the tables; the next block says so.
  void reset();

  // Adds one record of the ring (reactor, instance). Bytes appear in `out` when the ring changes, a table is full, or
  // at finish().
  void add(LineBuffer& out, const EndRecordView& record, uint32_t reactor, uint64_t instance);
  // `dropped` records are missing at this point.
  void gap(LineBuffer& out, uint32_t reactor, uint64_t instance, uint64_t dropped);
  // Writes what is pending. Afterwards `out` is complete.
  void finish(LineBuffer& out);

 private:
  bool convert(const EndRecordView& record, BinaryRecord& out);
  void put_strings(LineBuffer& out, BlockKind kind, const StringTable& table, uint32_t& written);
  void put_block(LineBuffer& out, BlockHeader header, std::string_view payload);

  StringTable small_;
  StringTable large_;
  uint32_t small_written_ = 0;  // ids that are in the file
  uint32_t large_written_ = 0;
  bool reset_pending_ = true;
  std::vector<BinaryRecord> records_;  // pending, all of one ring
  uint64_t first_seq_ = 0;
  uint32_t reactor_ = 0;
  uint64_t instance_ = 0;
  std::string payload_;
};

}  // namespace penstock
