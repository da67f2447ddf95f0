// The kernel's side of a TAP device, in a network namespace of the test's own: interfaces, addresses, routes, switches.
// Every function answers with an empty text, or with what went wrong.
#pragma once

#include "src/net/wire/ip_address.h"

#include <cstdint>
#include <string>

namespace penstock {

// Of the calling thread; threads that it starts later are born into it.
[[nodiscard]] std::string enter_network_namespace();
// `path` below /proc/sys/net, of this thread's namespace.
[[nodiscard]] std::string set_net_switch(const std::string& path, const std::string& value);
// Brings `name` up, both addresses usable at once (no duplicate address detection).
[[nodiscard]] std::string bring_up(const std::string& name, uint16_t mtu, const IpAddress& v4, const IpAddress& v6);
[[nodiscard]] std::string add_default_route(const std::string& name, const IpAddress& gateway);

}  // namespace penstock
