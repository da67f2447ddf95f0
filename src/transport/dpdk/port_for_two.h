// Which drivers let two processes have their port at once, each of which hears every frame (net/port_handover.h). Knows
// no DPDK: the supervisor asks.
#pragma once

#include <string_view>

namespace penstock {

// `device`: as in dpdk.device. net_af_packet opens packet sockets of its own; the queues of one process share its
// frames (packet fanout), those of two do not. The others own a device, a socket or a card, which one process has.
[[nodiscard]] constexpr bool two_may_hear(std::string_view device) { return device.starts_with("net_af_packet"); }

}  // namespace penstock
