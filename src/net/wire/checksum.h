// The Internet checksum (RFC 1071), in parts: a sum made once of bytes that never change is added to sums of what does.
//
// An InternetSum is the one's complement sum of 16-bit big-endian words, folded to 16 bits and not yet complemented.
// Pure.
#pragma once

#include "src/net/wire/ip_address.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock {

struct InternetSum {
  uint16_t value = 0;
  // One's complement has two zeroes, which are equal.
  constexpr bool operator==(const InternetSum& other) const { return value % 0xffff == other.value % 0xffff; }
};

// Of `bytes`; an odd last byte is padded with a zero behind it.
[[nodiscard]] InternetSum internet_sum(std::span<const uint8_t> bytes);

constexpr InternetSum operator+(InternetSum a, InternetSum b) {
  const uint32_t sum = static_cast<uint32_t>(a.value) + b.value;
  return {static_cast<uint16_t>((sum & 0xffff) + (sum >> 16))};
}

// The sum of bytes A followed by bytes B (RFC 1071 section 2 (B): what stands at an odd offset is swapped).
constexpr InternetSum append_sum(InternetSum a, uint64_t a_bytes, InternetSum b) {
  return a + (a_bytes % 2 == 0 ? b : InternetSum{static_cast<uint16_t>(b.value << 8 | b.value >> 8)});
}

// What goes into the checksum field, whose own bytes counted as zero.
constexpr uint16_t checksum_of(InternetSum sum) { return static_cast<uint16_t>(~sum.value); }
// True when the sum of all bytes, checksum field included, says that none changed.
constexpr bool checksum_good(InternetSum sum) { return sum.value == 0xffff; }

// The checksum field after a 16-bit word at an even offset changed (RFC 1624 equation 3).
// REQUIRES: something else that is summed is not zero (the pseudo-header never is).
constexpr uint16_t checksum_update(uint16_t checksum, uint16_t before, uint16_t after) {
  const InternetSum sum =
      InternetSum{static_cast<uint16_t>(~checksum)} + InternetSum{static_cast<uint16_t>(~before)} + InternetSum{after};
  return checksum_of(sum);
}

// Of the pseudo-header of RFC 9293 section 3.1 (IPv4) or RFC 8200 section 8.1. REQUIRES: both addresses of one version.
[[nodiscard]] InternetSum pseudo_header_sum(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                                            uint32_t bytes);

}  // namespace penstock
