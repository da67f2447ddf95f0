#include "src/net/wire/checksum.h"

#include <cstring>

namespace penstock {
namespace {

uint16_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

}  // namespace

// Sums 32-bit words in the host's order and swaps once at the end (RFC 1071 section 2: the sum is independent of byte
// order). A 64-bit accumulator of 32-bit words cannot overflow below 2^32 words, and the compiler makes vectors of it.
InternetSum internet_sum(std::span<const uint8_t> bytes) {
  const uint8_t* at = bytes.data();
  size_t left = bytes.size();
  uint64_t sum = 0;
  for (; left >= 4; at += 4, left -= 4) {
    uint32_t word = 0;
    std::memcpy(&word, at, 4);
    sum += word;
  }
  if (left != 0) {
    uint32_t word = 0;
    std::memcpy(&word, at, left);
    sum += word;
  }
  const uint16_t folded = fold(sum);
  return {static_cast<uint16_t>(folded << 8 | folded >> 8)};
}

InternetSum pseudo_header_sum(const IpAddress& source, const IpAddress& destination, uint8_t protocol, uint32_t bytes) {
  const size_t skip = source.is_v4() ? 12 : 0;
  const InternetSum addresses =
      internet_sum(std::span(source.bytes).subspan(skip)) + internet_sum(std::span(destination.bytes).subspan(skip));
  const InternetSum length =
      InternetSum{static_cast<uint16_t>(bytes >> 16)} + InternetSum{static_cast<uint16_t>(bytes)};
  return addresses + length + InternetSum{protocol};
}

}  // namespace penstock
