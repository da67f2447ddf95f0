// IpAddress: an IPv4 or IPv6 address in one size, so that tables and control blocks know one kind.
#pragma once

#include "src/net/wire/byte_order.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace penstock {

struct IpAddress {
  // Network order; IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). A packet of either version is never taken for the
  // other's.
  std::array<uint8_t, 16> bytes{};

  // By words: this is asked several times for each frame, and a comparison of arrays is a call.
  bool operator==(const IpAddress& other) const { return high() == other.high() && low() == other.low(); }

  static IpAddress v4(uint32_t value) {
    IpAddress address;
    address.bytes[10] = address.bytes[11] = 0xff;
    store_be32(&address.bytes[12], value);
    return address;
  }
  static IpAddress v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    return v4(static_cast<uint32_t>(a) << 24 | static_cast<uint32_t>(b) << 16 | static_cast<uint32_t>(c) << 8 | d);
  }
  static IpAddress v6(const uint8_t* sixteen) {
    IpAddress address;
    std::memcpy(address.bytes.data(), sixteen, 16);
    return address;
  }

  [[nodiscard]] bool is_v4() const { return high() == 0 && load_be32(&bytes[8]) == 0xffff; }
  [[nodiscard]] uint32_t v4_value() const { return load_be32(&bytes[12]); }
  [[nodiscard]] bool is_unspecified() const { return is_v4() ? v4_value() == 0 : *this == IpAddress{}; }
  [[nodiscard]] bool is_multicast() const { return is_v4() ? (bytes[12] & 0xf0) == 0xe0 : bytes[0] == 0xff; }
  // 127/8, ::1.
  [[nodiscard]] bool is_loopback() const {
    if (is_v4()) return bytes[12] == 127;
    IpAddress one;
    one.bytes[15] = 1;
    return *this == one;
  }
  // fe80::/10.
  [[nodiscard]] bool is_link_local_v6() const { return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }

  // Whether the first `prefix_bits` of this and `other` agree, counted in the address's own version (24 of an IPv4
  // one).
  [[nodiscard]] bool same_prefix(const IpAddress& other, uint32_t prefix_bits) const {
    const uint32_t bits = is_v4() ? prefix_bits + 96 : prefix_bits;
    const uint64_t first = load_be64(&bytes[0]) ^ load_be64(&other.bytes[0]);
    const uint64_t second = load_be64(&bytes[8]) ^ load_be64(&other.bytes[8]);
    if (bits <= 64) return bits == 0 || first >> (64 - bits) == 0;
    return first == 0 && second >> (128 - (bits < 128 ? bits : 128)) == 0;
  }

 private:
  [[nodiscard]] uint64_t high() const { return word(0); }
  [[nodiscard]] uint64_t low() const { return word(8); }
  [[nodiscard]] uint64_t word(size_t at) const {
    uint64_t value = 0;
    std::memcpy(&value, &bytes[at], sizeof value);
    return value;
  }
};

}  // namespace penstock
