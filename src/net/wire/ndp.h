// Neighbour discovery (RFC 4861): solicitations and advertisements. Pure. Routers are configured, so their messages are
// not read.
#pragma once

#include "src/net/wire/drop_reason.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip.h"

#include <cstdint>
#include <span>

namespace penstock {

struct NeighbourMessage {
  static constexpr size_t BYTES = 32;  // as we write it: with one link-layer address
  bool solicitation = false;           // else an advertisement
  bool solicited = false;              // of advertisements: an answer
  bool override_old = false;           // … the address replaces a known one
  IpAddress target;
  bool has_mac = false;  // the source's (solicitation) or target's (advertisement) link-layer address was there
  MacAddress mac;
};

// `packet` is an ICMPv6 packet whose checksum parse_icmp() has found good. NDP_MALFORMED, NDP_IGNORED (other types),
// NONE.
[[nodiscard]] DropReason parse_ndp(const IpHeader& packet, NeighbourMessage& message);
// With its checksum; goes out with hop limit 255. REQUIRES: room for NeighbourMessage::BYTES, has_mac.
void write_ndp(uint8_t* out, const NeighbourMessage& message, const IpAddress& source, const IpAddress& destination);

// ff02::1:ffXX:XXXX (RFC 4291 section 2.7.1), and the group's MAC address (RFC 2464 section 7).
[[nodiscard]] IpAddress solicited_node(const IpAddress& address);
[[nodiscard]] MacAddress multicast_mac(const IpAddress& group);
// fe80:: with the modified EUI-64 of `mac` (RFC 4291 appendix A).
[[nodiscard]] IpAddress link_local_of(const MacAddress& mac);

}  // namespace penstock
