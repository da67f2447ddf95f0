// ICMP (RFC 792) and ICMPv6 (RFC 4443): echo and the errors that concern a connection. Pure.
#pragma once

#include "src/net/wire/drop_reason.h"
#include "src/net/wire/ip.h"

#include <cstdint>
#include <span>

namespace penstock {

enum class IcmpKind : uint8_t {
  ECHO_REQUEST,
  PACKET_TOO_BIG,    // ICMP 3/4 (RFC 1191), ICMPv6 2: `mtu` is the next hop's, 0 where an old router does not say
  PORT_UNREACHABLE,  // ICMP 3/2 and 3/3, ICMPv6 1/4: the other end refuses (a hard error, RFC 1122 section 4.2.3.9)
  UNREACHABLE,       // all other ways of not getting there: soft, they may pass
  NEIGHBOUR,         // ICMPv6 133 … 137: see ndp.h
  OTHER,
};

struct IcmpMessage {
  IcmpKind kind = IcmpKind::OTHER;
  uint32_t mtu = 0;
  IpHeader quoted;  // of errors: the packet that they are about, and what is quoted of its payload (at least 8 bytes)
};

// `packet` is what parse_ipv4() or parse_ipv6() gave, its protocol one of the two. ICMP_SHORT, ICMP_CHECKSUM, NONE.
[[nodiscard]] DropReason parse_icmp(const IpHeader& packet, IcmpMessage& message);

// Turns the bytes of a good echo request, copied to `message`, into its reply, in place (RFC 792: the addresses
// reversed, the type changed, the checksum brought up to date). `v6`: the pseudo-header's sum stays, as the same two
// addresses are in it.
void make_echo_reply(std::span<uint8_t> message, bool v6);

}  // namespace penstock
