// KeyView: what a request asks for, as the bytes that name it, before any interpretation.
//
// The key is raw: scheme, Host and request target as they were received. Two spellings of one URL
// are two keys; both are right, and a hit needs no decoding. Views only; the caller owns the bytes.
#pragma once

#include "src/base/hash.h"

#include <cstdint>
#include <string_view>

namespace penstock {

struct KeyView {
  bool secure = false;      // https
  std::string_view host;    // as received (the parser may have lower-cased it), without scheme
  std::string_view target;  // request target as received, with its query
  bool operator==(const KeyView&) const = default;
};

// `seed` is drawn once at start (CacheTable::Config::hash_seed): a peer must not be able to
// prepare collisions.
[[nodiscard]] inline uint64_t hash_key(const KeyView& key, uint64_t seed) {
  // The host's hash seeds the target's, so bytes cannot move between the two.
  return hash_bytes(key.target, hash_bytes(key.host, seed + (key.secure ? 1 : 0)));
}

// Longer keys are never cached (the sizes are stored in 16 bits).
inline constexpr size_t KEY_PART_BYTES_MAX = 65'535;

}  // namespace penstock
