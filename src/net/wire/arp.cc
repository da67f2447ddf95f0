// Fuzzed by src/net/wire/frame_fuzz.cc
#include "src/net/wire/arp.h"

#include "src/net/wire/byte_order.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

constexpr uint8_t FIXED[6] = {0, 1, 8, 0, 6, 4};  // Ethernet, IPv4, six and four bytes an address

}  // namespace

DropReason parse_arp(std::span<const uint8_t> bytes, ArpPacket& packet) {
  if (bytes.size() < ArpPacket::BYTES || std::memcmp(bytes.data(), FIXED, sizeof FIXED) != 0)
    return DropReason::ARP_MALFORMED;
  const uint16_t operation = load_be16(&bytes[6]);
  if (operation != 1 && operation != 2) return DropReason::ARP_MALFORMED;
  packet.request = operation == 1;
  std::copy_n(bytes.begin() + 8, 6, packet.sender_mac.bytes.begin());
  packet.sender = IpAddress::v4(load_be32(&bytes[14]));
  std::copy_n(bytes.begin() + 18, 6, packet.target_mac.bytes.begin());
  packet.target = IpAddress::v4(load_be32(&bytes[24]));
  // A group is nobody's address (RFC 1812 section 3.3.2).
  return packet.sender_mac.is_group() ? DropReason::ARP_MALFORMED : DropReason::NONE;
}

void write_arp(uint8_t* out, const ArpPacket& packet) {
  std::memcpy(out, FIXED, sizeof FIXED);
  store_be16(out + 6, packet.request ? 1 : 2);
  std::memcpy(out + 8, packet.sender_mac.bytes.data(), 6);
  store_be32(out + 14, packet.sender.v4_value());
  std::memcpy(out + 18, packet.target_mac.bytes.data(), 6);
  store_be32(out + 24, packet.target.v4_value());
}

}  // namespace penstock
