// The TAP device of the exception path: the kernel's end of a port that is shared with it.
//
// The supervisor opens it and keeps it, so that the interface, with what is connected over it, outlives a server; each
// server sets it up for its port, before it gives its privileges away. Both need CAP_NET_ADMIN. Errors are one line.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"
#include "src/net/net_config.h"

#include <string>

namespace penstock {

// Non-blocking. The interface goes with the last descriptor, unless the operator has made it to stay.
[[nodiscard]] Result<UniqueFd> open_kernel_tap(const std::string& name);

// Gives the interface the port's MAC address, its MTU and the engine's addresses, sets it up, and sends what is for
// other networks to the gateways, unless the kernel has such a route already. What else it has stays.
[[nodiscard]] Status set_up_kernel_tap(int fd, const NetAddresses& addresses);

}  // namespace penstock
