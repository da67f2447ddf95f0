// Fuzzed by src/net/wire/frame_fuzz.cc
#include "src/net/wire/ethernet.h"

#include "src/net/wire/byte_order.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

bool is_tag(uint16_t type) {
  return type == static_cast<uint16_t>(EtherType::VLAN) || type == static_cast<uint16_t>(EtherType::SERVICE_VLAN);
}

}  // namespace

DropReason parse_ethernet(std::span<const uint8_t> frame, EthernetHeader& header) {
  if (frame.size() < EthernetHeader::BYTES) return DropReason::FRAME_SHORT;
  std::copy_n(frame.begin(), 6, header.destination.bytes.begin());
  std::copy_n(frame.begin() + 6, 6, header.source.bytes.begin());
  header.type = load_be16(&frame[12]);
  header.vlan_id = 0;
  header.bytes = EthernetHeader::BYTES;
  for (size_t tags = 0; tags < EthernetHeader::TAGS_MAX && is_tag(header.type); ++tags) {
    if (frame.size() < header.bytes + EthernetHeader::TAG_BYTES) return DropReason::FRAME_SHORT;
    header.vlan_id = load_be16(&frame[header.bytes]) & 0x0fff;
    header.type = load_be16(&frame[header.bytes + 2U]);
    header.bytes = static_cast<uint8_t>(header.bytes + EthernetHeader::TAG_BYTES);
  }
  return DropReason::NONE;
}

size_t write_ethernet(uint8_t* out, const EthernetHeader& header) {
  std::memcpy(out, header.destination.bytes.data(), 6);
  std::memcpy(out + 6, header.source.bytes.data(), 6);
  if (header.vlan_id == 0) {
    store_be16(out + 12, header.type);
    return EthernetHeader::BYTES;
  }
  store_be16(out + 12, static_cast<uint16_t>(EtherType::VLAN));
  store_be16(out + 14, header.vlan_id);
  store_be16(out + 16, header.type);
  return EthernetHeader::BYTES + EthernetHeader::TAG_BYTES;
}

}  // namespace penstock
