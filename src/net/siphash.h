// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed function of short inputs that who does not know the key cannot
// predict.
//
// For what a stranger must not guess or steer: initial sequence numbers, SYN cookies, the connection table's buckets.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace penstock {

using SipKey = std::array<uint64_t, 2>;

[[nodiscard]] uint64_t siphash(const SipKey& key, std::span<const uint8_t> bytes);

}  // namespace penstock
