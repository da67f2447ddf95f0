// The few questions about socket addresses that the kernel transports share. Cold path.
#pragma once

#include "src/base/result.h"
#include "src/transport/transport.h"

#include <netinet/in.h>
#include <sys/socket.h>

namespace penstock {

constexpr Duration ACCEPT_RETRY = milliseconds(100);  // after an accept that found no descriptor or memory left

// AF_INET or AF_INET6 by what `address` holds; IPv4-mapped becomes AF_INET.
[[nodiscard]] PeerAddress to_peer_address(const sockaddr_in6& address);
// The same for what accept4(2) and getpeername(2) fill in; AF_UNIX too.
[[nodiscard]] PeerAddress from_socket_address(const sockaddr_storage& storage);
// getpeername(2) and getsockname(2); family 0 where they fail.
[[nodiscard]] PeerAddress peer_address(int fd);
[[nodiscard]] PeerAddress own_address(int fd);
// 0.0.0.0 or ::, at which a listener takes what comes to any address.
[[nodiscard]] bool is_wildcard(const PeerAddress& address);
// What was sent on the socket and its peer has not taken yet, as far as the kernel says (for unix sockets with its own
// bookkeeping); 0 where it does not.
[[nodiscard]] uint64_t unsent_bytes(int fd);
// Checks that `fd` is a listening stream socket, makes it non-blocking, sets TCP_NODELAY (accepted
// sockets inherit it), and returns the address it is bound to.
[[nodiscard]] Result<PeerAddress> prepare_listener(int fd);

}  // namespace penstock
