// LogEncoder: finish records to the bytes of the configured log, whichever format that is.
//
// Owned by the Drain. Bytes of one batch go to one buffer; forget() when a batch is thrown away.
#pragma once

#include "src/base/time.h"
#include "src/log/drain/binary_writer.h"
#include "src/log/drain/entry.h"
#include "src/log/drain/line_format.h"
#include "src/log/drain/settings.h"
#include "src/log/ring_reader.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace penstock {

class LogEncoder {
 public:
  // REQUIRES: settings.wanted().
  LogEncoder(const AccessLogSettings& settings, std::string computer_name, uint64_t hash_seed);

  // What opens a file, or a further stretch of one.
  void start(LineBuffer& out, WallTime now, bool file_is_empty);
  // One record that `ring` has just returned, behind a note of what is missing before it.
  void add(LineBuffer& out, const EndRecordView& record, const RingReader& ring);
  // Only the note of what is missing before the record that `ring` has just returned.
  void gap(LineBuffer& out, const RingReader& ring);
  // Ends the batch: all of it is in `out` now.
  void finish(LineBuffer& out);
  // The bytes of the batch were not written.
  void forget();

 private:
  std::optional<LineFormat> lines_;  // one of the two
  std::unique_ptr<BinaryWriter> binary_;
  Escape escape_;
  EntryTexts texts_;
};

}  // namespace penstock
