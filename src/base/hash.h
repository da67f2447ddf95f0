// Keyed hashing of byte strings (XXH3 of xxHash), for tables whose keys a peer chooses.
//
// The seed is drawn at start, so a peer cannot prepare collisions offline; chains are bounded by
// the tables themselves. Not for authentication.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

[[nodiscard]] uint64_t hash_bytes(const void* data, size_t size, uint64_t seed);
[[nodiscard]] inline uint64_t hash_bytes(std::string_view text, uint64_t seed) {
  return hash_bytes(text.data(), text.size(), seed);
}

// Mixes one word (splitmix64's finaliser); a bijection.
constexpr uint64_t hash_word(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace penstock
