// What OpenSSL frees in keyd is wiped first: temporary numbers of signatures, buffers of decoding, keys.
#pragma once

#include "src/base/result.h"

namespace penstock {

// Starts OpenSSL so, without its configuration file. Once, before it has allocated anything in this process.
[[nodiscard]] Status start_wiping_openssl();

}  // namespace penstock
