// Fuzzed by src/net/wire/frame_fuzz.cc
#include "src/net/wire/ip.h"

#include "src/net/wire/byte_order.h"
#include "src/net/wire/checksum.h"

#include <cstring>

namespace penstock {
namespace {

constexpr uint8_t HOP_BY_HOP = 0;
constexpr uint8_t ROUTING = 43;
constexpr uint8_t FRAGMENT = 44;
constexpr uint8_t DESTINATION_OPTIONS = 60;

}  // namespace

DropReason parse_ipv4(std::span<const uint8_t> packet, bool checksum_seen, IpHeader& header) {
  if (packet.size() < IpHeader::V4_BYTES) return DropReason::IP_SHORT;
  if (packet[0] >> 4 != 4) return DropReason::IP_VERSION;
  const size_t header_bytes = static_cast<size_t>(packet[0] & 15) * 4;
  const size_t total = load_be16(&packet[2]);
  if (header_bytes < IpHeader::V4_BYTES || total < header_bytes) return DropReason::IP_HEADER_LENGTH;
  if (total > packet.size()) return DropReason::IP_SHORT;
  if (!checksum_seen && !checksum_good(internet_sum(packet.first(header_bytes)))) return DropReason::IP_HEADER_CHECKSUM;
  header.hop_limit = packet[8];
  header.protocol = packet[9];
  header.source = IpAddress::v4(load_be32(&packet[12]));
  header.destination = IpAddress::v4(load_be32(&packet[16]));
  if ((load_be16(&packet[6]) & 0x3fff) != 0) return DropReason::IP_FRAGMENT;  // an offset, or more fragments
  header.payload = packet.subspan(header_bytes, total - header_bytes);
  return DropReason::NONE;
}

DropReason parse_ipv6(std::span<const uint8_t> packet, IpHeader& header) {
  if (packet.size() < IpHeader::V6_BYTES) return DropReason::IP_SHORT;
  if (packet[0] >> 4 != 6) return DropReason::IP_VERSION;
  const size_t bytes = load_be16(&packet[4]);
  if (bytes > packet.size() - IpHeader::V6_BYTES) return DropReason::IP_SHORT;
  header.hop_limit = packet[7];
  header.source = IpAddress::v6(&packet[8]);
  header.destination = IpAddress::v6(&packet[24]);
  // An IPv4-mapped address on the wire would be taken for IPv4 by all that follows.
  if (header.source.is_v4() || header.destination.is_v4()) return DropReason::IP_SOURCE;
  std::span<const uint8_t> rest = packet.subspan(IpHeader::V6_BYTES, bytes);
  uint8_t next = packet[6];
  for (size_t passed = 0;; ++passed) {
    if (next == FRAGMENT) {
      if (!rest.empty()) header.protocol = rest[0];
      return DropReason::IP_FRAGMENT;
    }
    if (next != HOP_BY_HOP && next != ROUTING && next != DESTINATION_OPTIONS) break;
    if (passed == IPV6_EXTENSIONS_MAX || rest.size() < 8) return DropReason::IP_EXTENSION;
    if (next == HOP_BY_HOP && passed != 0) return DropReason::IP_EXTENSION;  // RFC 8200 section 4.1
    if (next == ROUTING && rest[3] != 0) return DropReason::IP_EXTENSION;    // segments left
    const size_t extension_bytes = (static_cast<size_t>(rest[1]) + 1) * 8;
    if (extension_bytes > rest.size()) return DropReason::IP_EXTENSION;
    next = rest[0];
    rest = rest.subspan(extension_bytes);
  }
  header.protocol = next;
  header.payload = rest;
  return DropReason::NONE;
}

bool parse_quoted_ip(std::span<const uint8_t> packet, bool v6, IpHeader& header) {
  if (v6) {
    if (packet.size() < IpHeader::V6_BYTES || packet[0] >> 4 != 6) return false;
    header.source = IpAddress::v6(&packet[8]);
    header.destination = IpAddress::v6(&packet[24]);
    header.protocol = packet[6];  // we send no extension headers
    header.payload = packet.subspan(IpHeader::V6_BYTES);
    return !header.source.is_v4() && !header.destination.is_v4();
  }
  if (packet.size() < IpHeader::V4_BYTES || packet[0] >> 4 != 4) return false;
  const size_t header_bytes = static_cast<size_t>(packet[0] & 15) * 4;
  if (header_bytes < IpHeader::V4_BYTES || header_bytes > packet.size()) return false;
  header.source = IpAddress::v4(load_be32(&packet[12]));
  header.destination = IpAddress::v4(load_be32(&packet[16]));
  header.protocol = packet[9];
  header.payload = packet.subspan(header_bytes);
  return true;
}

size_t write_ip(uint8_t* out, const IpHeader& header, size_t payload_bytes, bool checksum_later) {
  if (!header.source.is_v4()) {
    std::memset(out, 0, 4);
    out[0] = 6 << 4;
    store_be16(out + 4, static_cast<uint16_t>(payload_bytes));
    out[6] = header.protocol;
    out[7] = header.hop_limit;
    std::memcpy(out + 8, header.source.bytes.data(), 16);
    std::memcpy(out + 24, header.destination.bytes.data(), 16);
    return IpHeader::V6_BYTES;
  }
  std::memset(out, 0, IpHeader::V4_BYTES);
  out[0] = 4 << 4 | 5;
  store_be16(out + 2, static_cast<uint16_t>(IpHeader::V4_BYTES + payload_bytes));
  store_be16(out + 6, 0x4000);
  out[8] = header.hop_limit;
  out[9] = header.protocol;
  store_be32(out + 12, header.source.v4_value());
  store_be32(out + 16, header.destination.v4_value());
  if (!checksum_later) store_be16(out + 10, checksum_of(internet_sum({out, IpHeader::V4_BYTES})));
  return IpHeader::V4_BYTES;
}

}  // namespace penstock
