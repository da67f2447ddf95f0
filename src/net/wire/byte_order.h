// Network byte order at any address: frames put their fields where they like.
#pragma once

#include <cstdint>
#include <cstring>

namespace penstock {

inline uint16_t load_be16(const uint8_t* at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }
inline uint32_t load_be32(const uint8_t* at) {
  uint32_t value = 0;
  std::memcpy(&value, at, 4);
  return __builtin_bswap32(value);
}
inline uint64_t load_be64(const uint8_t* at) {
  uint64_t value = 0;
  std::memcpy(&value, at, 8);
  return __builtin_bswap64(value);
}
inline void store_be16(uint8_t* at, uint16_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}
inline void store_be32(uint8_t* at, uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(at, &value, 4);
}
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "the swaps above, and checksum.cc, take the host for little-endian");

}  // namespace penstock
