// Fuzzed by src/net/wire/frame_fuzz.cc
#include "src/net/wire/flow_steering.h"

#include "src/net/wire/byte_order.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip.h"

#include <bit>

namespace penstock {
namespace {

// What each byte of a folded word adds. The key repeats after 16 bits, so a bit's share depends on its place in its
// word alone: the hash of the exclusive or of all words is the hash of all.
constexpr std::array<std::array<uint16_t, 256>, 2> make_shares() {
  std::array<std::array<uint16_t, 256>, 2> shares{};
  for (size_t half = 0; half < 2; ++half) {
    for (size_t value = 0; value < 256; ++value) {
      for (size_t bit = 0; bit < 8; ++bit) {
        if ((value & (0x80U >> bit)) == 0) continue;
        shares[half][value] = static_cast<uint16_t>(
            shares[half][value] ^ std::rotl(FlowSteering::KEY_WORD, static_cast<int>(8 * half + bit)));
      }
    }
  }
  return shares;
}

constexpr auto SHARES = make_shares();

uint16_t hash_input_of(const IpAddress& address) {
  uint16_t word = 0;
  for (size_t i = address.is_v4() ? 12 : 0; i < 16; i += 2) word ^= load_be16(&address.bytes[i]);
  return word;
}

constexpr uint8_t ICMP_UNREACHABLE = 3;
constexpr uint8_t ICMP_TIME_EXCEEDED = 11;
constexpr uint8_t ICMP_PARAMETER_PROBLEM = 12;
constexpr uint8_t ICMPV6_ERRORS_END = 128;       // RFC 4443 section 2.1: below are errors
constexpr uint8_t ICMPV6_NEIGHBOUR_FIRST = 133;  // RFC 4861 section 4
constexpr uint8_t ICMPV6_NEIGHBOUR_LAST = 137;
constexpr size_t ICMP_HEAD_BYTES = 8;
constexpr size_t PORTS_BYTES = 4;

}  // namespace

uint32_t flow_hash(const IpAddress& one, uint16_t one_port, const IpAddress& other, uint16_t other_port) {
  const auto word = static_cast<uint16_t>(hash_input_of(one) ^ hash_input_of(other) ^ one_port ^ other_port);
  const uint32_t half = SHARES[0][word >> 8] ^ SHARES[1][word & 0xff];
  return half << 16 | half;
}

FlowSteering::Route FlowSteering::by_ports(const IpAddress& one, const IpAddress& other,
                                           std::span<const uint8_t> transport) const {
  if (transport.size() < PORTS_BYTES) return {};
  const uint32_t hash = flow_hash(one, load_be16(&transport[0]), other, load_be16(&transport[2]));
  return {.to = Route::To::ONE, .engine = engine_of(hash)};
}

FlowSteering::Route FlowSteering::route(std::span<const uint8_t> frame) const {
  EthernetHeader link;
  if (parse_ethernet(frame, link) != DropReason::NONE) return {};
  const auto type = static_cast<EtherType>(link.type);
  if (type == EtherType::ARP) return {.to = Route::To::ALL};
  if (type != EtherType::IPV4 && type != EtherType::IPV6) return {};
  const bool v6 = type == EtherType::IPV6;
  const std::span<const uint8_t> bytes = frame.subspan(link.bytes);
  IpHeader packet;
  if ((v6 ? parse_ipv6(bytes, packet) : parse_ipv4(bytes, true, packet)) != DropReason::NONE) return {};
  if (packet.protocol == IP_PROTOCOL_TCP) return by_ports(packet.source, packet.destination, packet.payload);
  if (packet.protocol != (v6 ? IP_PROTOCOL_ICMPV6 : IP_PROTOCOL_ICMP) || packet.payload.size() < ICMP_HEAD_BYTES)
    return {};
  const uint8_t kind = packet.payload[0];
  if (v6 && kind >= ICMPV6_NEIGHBOUR_FIRST && kind <= ICMPV6_NEIGHBOUR_LAST) return {.to = Route::To::ALL};
  const bool error = v6 ? kind < ICMPV6_ERRORS_END
                        : kind == ICMP_UNREACHABLE || kind == ICMP_TIME_EXCEEDED || kind == ICMP_PARAMETER_PROBLEM;
  IpHeader quoted;
  if (!error || !parse_quoted_ip(packet.payload.subspan(ICMP_HEAD_BYTES), v6, quoted)) return {};
  if (quoted.protocol != IP_PROTOCOL_TCP) return {};
  return by_ports(quoted.source, quoted.destination, quoted.payload);
}

}  // namespace penstock
