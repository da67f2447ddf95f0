// Memory at an address that nobody can guess, for calls that a filter allows with this address alone (exec_once.h,
// send_once.h). Internal to pool/sandbox.
#pragma once

#include "src/base/result.h"

#include <cstddef>
#include <cstdint>

namespace penstock {

// Copies `bytes` to an address chosen at random (some 40 bits), 16 bytes aligned; it stays until the process executes
// another program.
[[nodiscard]] Result<uint64_t> hide(const void* bytes, size_t size);

}  // namespace penstock
