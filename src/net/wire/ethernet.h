// Ethernet II frames with up to two VLAN tags (IEEE 802.1Q, 802.1ad). Pure.
#pragma once

#include "src/net/wire/drop_reason.h"

#include <array>
#include <cstdint>
#include <span>

namespace penstock {

struct MacAddress {
  std::array<uint8_t, 6> bytes{};
  bool operator==(const MacAddress&) const = default;
  [[nodiscard]] bool is_group() const { return (bytes[0] & 1) != 0; }
  static constexpr MacAddress broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
};

enum class EtherType : uint16_t { IPV4 = 0x0800, ARP = 0x0806, IPV6 = 0x86dd, VLAN = 0x8100, SERVICE_VLAN = 0x88a8 };

struct EthernetHeader {
  static constexpr size_t BYTES = 14;     // without tags
  static constexpr size_t TAG_BYTES = 4;  // of each tag
  static constexpr size_t TAGS_MAX = 2;
  static constexpr size_t BYTES_MAX = BYTES + TAGS_MAX * TAG_BYTES;
  MacAddress destination;
  MacAddress source;
  uint16_t type = 0;     // of what follows the tags
  uint16_t vlan_id = 0;  // of the innermost tag; 0: untagged, or a tag of priority only
  uint8_t bytes = 0;     // where the payload begins
};

// FRAME_SHORT, or NONE. Lengths (802.3) instead of types come out as a type below 0x600, which nobody knows.
[[nodiscard]] DropReason parse_ethernet(std::span<const uint8_t> frame, EthernetHeader& header);
// Writes the header, with a tag when vlan_id is not 0; returns its bytes (14 or 18). REQUIRES: room for 18.
size_t write_ethernet(uint8_t* out, const EthernetHeader& header);

}  // namespace penstock
