// IPv4 (RFC 791) and IPv6 (RFC 8200) headers. Pure. Fragments are refused, options and extension headers skipped.
#pragma once

#include "src/net/wire/drop_reason.h"
#include "src/net/wire/ip_address.h"

#include <cstdint>
#include <span>

namespace penstock {

inline constexpr uint8_t IP_PROTOCOL_ICMP = 1;
inline constexpr uint8_t IP_PROTOCOL_TCP = 6;
inline constexpr uint8_t IP_PROTOCOL_ICMPV6 = 58;

struct IpHeader {
  static constexpr size_t V4_BYTES = 20;  // as we write it, without options
  static constexpr size_t V6_BYTES = 40;
  IpAddress source;
  IpAddress destination;
  uint8_t protocol = 0;                   // of the payload, extension headers passed
  uint8_t hop_limit = 0;                  // time to live
  std::span<const uint8_t> payload = {};  // exactly as long as the length field says: a frame's padding is cut off
};

// Each checks all of its header but not the addresses. IP_SHORT, IP_VERSION, IP_HEADER_LENGTH, IP_HEADER_CHECKSUM,
// IP_FRAGMENT (the header is told, the payload is not), NONE. `checksum_seen`: the port has found the header checksum
// good.
[[nodiscard]] DropReason parse_ipv4(std::span<const uint8_t> packet, bool checksum_seen, IpHeader& header);
// Further IP_EXTENSION: at most IPV6_EXTENSIONS_MAX are passed, none of them a routing header with segments left.
inline constexpr size_t IPV6_EXTENSIONS_MAX = 8;
[[nodiscard]] DropReason parse_ipv6(std::span<const uint8_t> packet, IpHeader& header);

// The addresses and the protocol of a packet that an ICMP error quotes, and what it quotes of the payload; the packet
// may be cut off, so neither its length nor its checksum counts. False where there is not enough.
[[nodiscard]] bool parse_quoted_ip(std::span<const uint8_t> packet, bool v6, IpHeader& header);

// Writes a header without options for `payload_bytes`, by the version of the addresses; returns its bytes. IPv4: Don't
// Fragment, identification 0 (RFC 6864 section 4.1), checksum filled in unless `checksum_later` (the port does it).
// REQUIRES: both addresses of one version, room for V6_BYTES, a packet of at most 65,535 bytes.
size_t write_ip(uint8_t* out, const IpHeader& header, size_t payload_bytes, bool checksum_later = false);

}  // namespace penstock
