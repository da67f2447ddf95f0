// Whose a frame is that came to a port which the engine shares with a kernel of the same addresses. Pure: it judges by
// what the engine found.
//
// The engine's: TCP to its connections and its listeners' ports, and ICMP errors about its connections. Of use to both:
// ARP and neighbour discovery. Everything else that a host may have a use for is the kernel's, echo requests too. What
// is broken, or meant for another machine, is nobody's; so are fragments of TCP and TCP from impossible addresses,
// which the kernel would answer in the engine's name.
#pragma once

#include "src/net/ip_layer.h"

namespace penstock {

enum class FrameOwner : uint8_t { ENGINE, BOTH, KERNEL };

// `drop` is what the engine said of the frame, NONE: it was of use.
[[nodiscard]] inline FrameOwner frame_owner(DropReason drop, const IpLayer::Arrival& arrival) {
  if (arrival.neighbours) return FrameOwner::BOTH;
  switch (drop) {
    case DropReason::VLAN_NOT_OURS:
    case DropReason::ETHERTYPE_UNKNOWN:
    case DropReason::IP_NOT_OURS:
    case DropReason::IP_PROTOCOL_UNKNOWN:
    case DropReason::IP_EXTENSION:
    case DropReason::ICMP_IGNORED:
    case DropReason::ICMP_NO_CONNECTION:
    case DropReason::TCP_NOT_OURS:
      return FrameOwner::KERNEL;
    case DropReason::IP_FRAGMENT:
    case DropReason::IP_SOURCE:
      return arrival.packet.protocol == IP_PROTOCOL_TCP ? FrameOwner::ENGINE : FrameOwner::KERNEL;
    default:
      return FrameOwner::ENGINE;
  }
}

}  // namespace penstock
