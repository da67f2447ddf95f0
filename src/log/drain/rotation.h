// Rotation: when a log file is due, what its rotated name is, and which old files go.
//
// access.log becomes access.log.20261122-033232 (the time of rotation, -01 ... behind it when that is taken): names
// sort as they happened. Runs in logd.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/log/drain/settings.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// The hour or day that `at` lies in, as a number that changes at each boundary; 0 for NONE.
[[nodiscard]] int64_t period_index(WallTime at, RotatePeriod period, bool utc);

// Whether `name` is what rotation makes of `base`: base, a dot, 8 digits, '-', 6 digits, and at most "-NN".
[[nodiscard]] bool is_rotated_name(std::string_view name, std::string_view base);

// Renames `path` to its rotated name, never onto an existing file, and returns that.
[[nodiscard]] Result<std::string> rotate_away(const std::string& path, WallTime now, bool utc);

// The rotated files of `path`, oldest first, as whole paths.
[[nodiscard]] std::vector<std::string> rotated_files(const std::string& path);

// Removes the oldest so that at most `keep` remain; 0 keeps all. Returns how many went; stops at the first error.
[[nodiscard]] Result<uint32_t> prune_rotated(const std::string& path, uint32_t keep);

}  // namespace penstock
