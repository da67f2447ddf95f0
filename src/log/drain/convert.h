// Converting binary access logs to lines: `penstock log FILE… --to w3c|ncsa|json [--by start|finish]`.
//
// Runs in the tool, over whole files in memory; no I/O of its own. Strings are escaped once per table entry,
// not once per line.
#pragma once

#include "src/base/result.h"
#include "src/log/drain/line_format.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace penstock {

enum class LogOrder : uint8_t {
  FILE,    // as it stands: by finish within a reactor, in batches between reactors; needs no memory
  START,   // in order of arrival: exact within a reactor, by wall time between reactors
  FINISH,  // in order of finish, likewise
};

struct ConvertOptions {
  LineFormatOptions line;
  LogOrder order = LogOrder::FILE;
};

struct ConvertReport {
  uint64_t records = 0;
  uint64_t dropped = 0;          // records that the log says were never written
  uint64_t skipped_bytes = 0;    // damage
  uint64_t skipped_records = 0;  // whole records behind damage, whose strings may be missing
};

// Takes whole lines; an error ends the conversion.
using LogSink = std::function<Status(std::string_view lines)>;

// The files are one log, in the order given. `now` dates the header. Fails on a file that is none, and on what
// the sink says; damage inside a file is skipped and reported.
[[nodiscard]] Result<ConvertReport> convert_binary_logs(std::span<const std::string_view> files, WallTime now,
                                                        const ConvertOptions& options, const LogSink& sink);

}  // namespace penstock
