// Whatever the bytes: no parser of the link and network layers looks beyond them, and what they accept holds its own
// limits. The first byte says where to begin, so that no checksum has to be guessed to reach the inner ones.

#include "src/base/assert.h"
#include "src/net/wire/arp.h"
#include "src/net/wire/byte_order.h"
#include "src/net/wire/checksum.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/flow_steering.h"
#include "src/net/wire/icmp.h"
#include "src/net/wire/ip.h"
#include "src/net/wire/ndp.h"

#include <cstring>
#include <vector>

namespace penstock {
namespace {

bool inside(std::span<const uint8_t> part, std::span<const uint8_t> whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void try_ndp(const IpHeader& packet) {
  NeighbourMessage message;
  if (parse_ndp(packet, message) != DropReason::NONE || !message.has_mac) return;
  // What we write of it reads the same.
  std::vector<uint8_t> out(NeighbourMessage::BYTES);
  write_ndp(out.data(), message, packet.source, packet.destination);
  IpHeader again = packet;
  again.payload = out;
  IcmpMessage icmp;
  NeighbourMessage copy;
  ASSERT(parse_icmp(again, icmp) == DropReason::NONE && icmp.kind == IcmpKind::NEIGHBOUR);
  ASSERT(parse_ndp(again, copy) == DropReason::NONE && copy.target == message.target && copy.mac == message.mac);
}

void try_icmp(IpHeader packet) {
  std::vector<uint8_t> bytes(packet.payload.begin(), packet.payload.end());
  const bool v6 = packet.protocol == IP_PROTOCOL_ICMPV6;
  if (bytes.size() >= 4) {
    store_be16(&bytes[2], 0);
    InternetSum sum = internet_sum(bytes);
    if (v6)
      sum = sum +
            pseudo_header_sum(packet.source, packet.destination, packet.protocol, static_cast<uint32_t>(bytes.size()));
    store_be16(&bytes[2], checksum_of(sum));
  }
  packet.payload = bytes;
  IcmpMessage message;
  const DropReason verdict = parse_icmp(packet, message);
  ASSERT(verdict != DropReason::ICMP_CHECKSUM);
  if (verdict != DropReason::NONE) return;
  if (message.kind == IcmpKind::ECHO_REQUEST) {
    make_echo_reply(bytes, v6);
    IcmpMessage reply;
    ASSERT(parse_icmp(packet, reply) == DropReason::NONE && reply.kind == IcmpKind::OTHER);
  } else if (message.kind == IcmpKind::NEIGHBOUR) {
    try_ndp(packet);
  } else if (message.kind != IcmpKind::OTHER) {
    ASSERT(message.quoted.payload.size() >= 8 && inside(message.quoted.payload, bytes));
  }
}

void try_ip(std::span<const uint8_t> bytes, bool v6) {
  IpHeader packet;
  const DropReason verdict = v6 ? parse_ipv6(bytes, packet) : parse_ipv4(bytes, true, packet);
  if (verdict != DropReason::NONE) return;
  ASSERT(inside(packet.payload, bytes));
  ASSERT(packet.source.is_v4() != v6 && packet.destination.is_v4() != v6);
  if (packet.protocol == (v6 ? IP_PROTOCOL_ICMPV6 : IP_PROTOCOL_ICMP)) try_icmp(packet);
}

void try_arp(std::span<const uint8_t> bytes) {
  ArpPacket packet;
  if (parse_arp(bytes, packet) != DropReason::NONE) return;
  uint8_t out[ArpPacket::BYTES];
  write_arp(out, packet);
  ASSERT(std::memcmp(out, bytes.data(), ArpPacket::BYTES) == 0);
}

void try_ethernet(std::span<const uint8_t> bytes) {
  EthernetHeader header;
  ASSERT(FlowSteering(3).route(bytes).engine < 3);
  if (parse_ethernet(bytes, header) != DropReason::NONE) return;
  ASSERT(header.bytes <= bytes.size() && header.bytes <= EthernetHeader::BYTES_MAX && header.vlan_id < 4096);
  const std::span<const uint8_t> payload = bytes.subspan(header.bytes);
  if (header.type == static_cast<uint16_t>(EtherType::ARP)) try_arp(payload);
  if (header.type == static_cast<uint16_t>(EtherType::IPV4)) try_ip(payload, false);
  if (header.type == static_cast<uint16_t>(EtherType::IPV6)) try_ip(payload, true);
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size == 0) return 0;
  const std::vector<uint8_t> copy(data + 1, data + size);  // its end is the end of an allocation
  IpHeader packet;
  packet.hop_limit = 255;
  packet.payload = copy;
  switch (data[0] % 5) {
    case 0:
      try_ethernet(copy);
      break;
    case 1:
      try_ip(copy, false);
      break;
    case 2:
      try_ip(copy, true);
      break;
    case 3:
      packet.protocol = IP_PROTOCOL_ICMP;
      packet.source = packet.destination = IpAddress::v4(10, 0, 0, 1);
      try_icmp(packet);
      break;
    default:
      packet.protocol = IP_PROTOCOL_ICMPV6;
      packet.source.bytes[0] = packet.destination.bytes[0] = 0xfe;
      try_icmp(packet);
  }
  return 0;
}
