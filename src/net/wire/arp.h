// ARP for IPv4 over Ethernet (RFC 826). Pure.
#pragma once

#include "src/net/wire/drop_reason.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip_address.h"

#include <span>

namespace penstock {

struct ArpPacket {
  static constexpr size_t BYTES = 28;
  bool request = false;  // else a reply
  MacAddress sender_mac;
  IpAddress sender;
  MacAddress target_mac;
  IpAddress target;
};

// ARP_MALFORMED, or NONE; padding behind the packet is fine.
[[nodiscard]] DropReason parse_arp(std::span<const uint8_t> bytes, ArpPacket& packet);
// REQUIRES: room for ArpPacket::BYTES.
void write_arp(uint8_t* out, const ArpPacket& packet);

}  // namespace penstock
