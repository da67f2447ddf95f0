// Fuzzed by src/net/wire/frame_fuzz.cc
#include "src/net/wire/ndp.h"

#include "src/net/wire/byte_order.h"
#include "src/net/wire/checksum.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

constexpr uint8_t SOLICITATION = 135;
constexpr uint8_t ADVERTISEMENT = 136;
constexpr size_t FIXED_BYTES = 24;
constexpr uint8_t SOURCE_MAC = 1;
constexpr uint8_t TARGET_MAC = 2;

}  // namespace

// The rules are those of RFC 4861 sections 7.1.1 and 7.1.2, in their order.
DropReason parse_ndp(const IpHeader& packet, NeighbourMessage& message) {
  const std::span<const uint8_t> bytes = packet.payload;
  const uint8_t type = bytes[0];
  if (type != SOLICITATION && type != ADVERTISEMENT) return DropReason::NDP_IGNORED;
  if (packet.hop_limit != 255 || bytes[1] != 0 || bytes.size() < FIXED_BYTES) return DropReason::NDP_MALFORMED;
  message = {};
  message.solicitation = type == SOLICITATION;
  message.target = IpAddress::v6(&bytes[8]);
  if (message.target.is_multicast() || message.target.is_v4()) return DropReason::NDP_MALFORMED;
  if (!message.solicitation) {
    message.solicited = (bytes[4] & 0x40) != 0;
    message.override_old = (bytes[4] & 0x20) != 0;
    if (message.solicited && packet.destination.is_multicast()) return DropReason::NDP_MALFORMED;
  }
  for (std::span<const uint8_t> rest = bytes.subspan(FIXED_BYTES); !rest.empty();) {
    if (rest.size() < 2 || rest[1] == 0 || rest[1] * 8U > rest.size()) return DropReason::NDP_MALFORMED;
    if (rest[0] == (message.solicitation ? SOURCE_MAC : TARGET_MAC)) {
      message.has_mac = true;
      std::copy_n(rest.begin() + 2, 6, message.mac.bytes.begin());
      if (message.mac.is_group()) return DropReason::NDP_MALFORMED;
    }
    rest = rest.subspan(rest[1] * 8U);
  }
  if (message.solicitation && packet.source.is_unspecified() && message.has_mac) return DropReason::NDP_MALFORMED;
  return DropReason::NONE;
}

void write_ndp(uint8_t* out, const NeighbourMessage& message, const IpAddress& source, const IpAddress& destination) {
  std::memset(out, 0, NeighbourMessage::BYTES);
  out[0] = message.solicitation ? SOLICITATION : ADVERTISEMENT;
  out[4] = static_cast<uint8_t>((message.solicited ? 0x40 : 0) | (message.override_old ? 0x20 : 0));
  std::memcpy(out + 8, message.target.bytes.data(), 16);
  out[24] = message.solicitation ? SOURCE_MAC : TARGET_MAC;
  out[25] = 1;
  std::memcpy(out + 26, message.mac.bytes.data(), 6);
  const InternetSum sum = internet_sum({out, NeighbourMessage::BYTES}) +
                          pseudo_header_sum(source, destination, IP_PROTOCOL_ICMPV6, NeighbourMessage::BYTES);
  store_be16(out + 2, checksum_of(sum));
}

IpAddress solicited_node(const IpAddress& address) {
  IpAddress group;
  static constexpr uint8_t PREFIX[13] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::memcpy(group.bytes.data(), PREFIX, 13);
  std::memcpy(&group.bytes[13], &address.bytes[13], 3);
  return group;
}

MacAddress multicast_mac(const IpAddress& group) {
  return {{0x33, 0x33, group.bytes[12], group.bytes[13], group.bytes[14], group.bytes[15]}};
}

IpAddress link_local_of(const MacAddress& mac) {
  IpAddress address;
  address.bytes[0] = 0xfe;
  address.bytes[1] = 0x80;
  std::memcpy(&address.bytes[8], mac.bytes.data(), 3);
  address.bytes[8] ^= 2;
  address.bytes[11] = 0xff;
  address.bytes[12] = 0xfe;
  std::memcpy(&address.bytes[13], &mac.bytes[3], 3);
  return address;
}

}  // namespace penstock
