// Where a signature waits for keyd inside a handshake. Internal to src/tls.
#pragma once

#include "src/tls/key_abi.h"

#include <cstddef>
#include <span>

namespace penstock {

// Asks keyd through the KeyWait of the handshake that runs on this thread (wait_for_key()), pauses its job until the
// answer is there, and returns its size. 0: refused, cancelled, overloaded, or no such handshake runs.
[[nodiscard]] size_t wait_for_signature(const KeyRequest& request, std::span<unsigned char> out);

}  // namespace penstock
