// Fuzzed by src/net/wire/frame_fuzz.cc
#include "src/net/wire/icmp.h"

#include "src/net/wire/byte_order.h"
#include "src/net/wire/checksum.h"

namespace penstock {
namespace {

constexpr size_t HEADER_BYTES = 8;
constexpr size_t QUOTED_MIN = 8;  // RFC 792: the first 64 bits of the original data

IcmpKind kind_v4(uint8_t type, uint8_t code) {
  if (type == 8 && code == 0) return IcmpKind::ECHO_REQUEST;
  if (type != 3) return IcmpKind::OTHER;
  if (code == 4) return IcmpKind::PACKET_TOO_BIG;
  return code == 2 || code == 3 ? IcmpKind::PORT_UNREACHABLE : IcmpKind::UNREACHABLE;
}

IcmpKind kind_v6(uint8_t type, uint8_t code) {
  if (type == 128 && code == 0) return IcmpKind::ECHO_REQUEST;
  if (type == 2) return IcmpKind::PACKET_TOO_BIG;
  if (type == 1) return code == 4 ? IcmpKind::PORT_UNREACHABLE : IcmpKind::UNREACHABLE;
  return type >= 133 && type <= 137 ? IcmpKind::NEIGHBOUR : IcmpKind::OTHER;
}

}  // namespace

DropReason parse_icmp(const IpHeader& packet, IcmpMessage& message) {
  const std::span<const uint8_t> bytes = packet.payload;
  const bool v6 = packet.protocol == IP_PROTOCOL_ICMPV6;
  if (bytes.size() < HEADER_BYTES) return DropReason::ICMP_SHORT;
  InternetSum sum = internet_sum(bytes);
  if (v6)
    sum = sum +
          pseudo_header_sum(packet.source, packet.destination, packet.protocol, static_cast<uint32_t>(bytes.size()));
  if (!checksum_good(sum)) return DropReason::ICMP_CHECKSUM;
  message.kind = v6 ? kind_v6(bytes[0], bytes[1]) : kind_v4(bytes[0], bytes[1]);
  message.mtu = 0;
  switch (message.kind) {
    case IcmpKind::PACKET_TOO_BIG:
      message.mtu = v6 ? load_be32(&bytes[4]) : load_be16(&bytes[6]);
      [[fallthrough]];
    case IcmpKind::PORT_UNREACHABLE:
    case IcmpKind::UNREACHABLE:
      if (!parse_quoted_ip(bytes.subspan(HEADER_BYTES), v6, message.quoted)) return DropReason::ICMP_SHORT;
      return message.quoted.payload.size() < QUOTED_MIN ? DropReason::ICMP_SHORT : DropReason::NONE;
    default:
      return DropReason::NONE;
  }
}

void make_echo_reply(std::span<uint8_t> message, bool v6) {
  if (v6) {
    const uint16_t before = load_be16(message.data());
    message[0] = 129;
    store_be16(&message[2], checksum_update(load_be16(&message[2]), before, load_be16(message.data())));
    return;
  }
  message[0] =
      0;  // with an identifier, a number and data of zeroes nothing but zeroes is left, which an update cannot know
  store_be16(&message[2], 0);
  store_be16(&message[2], checksum_of(internet_sum(message)));
}

}  // namespace penstock
