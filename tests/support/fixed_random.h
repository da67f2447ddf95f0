// All randomness of OpenSSL out of one seed, so that a handshake is the same bytes each time. For fuzzers.
#pragma once

#include <cstdint>

namespace penstock::test {

// REQUIRES: nothing of this process has asked OpenSSL for randomness yet.
void fix_openssl_random();
// From here on what `seed` gives.
void set_openssl_random(uint64_t seed);

}  // namespace penstock::test
