// Who sends a request: the peer of its connection, or, where that is a proxy which server.trusted_proxies names, the
// address that the proxy says it had it from. The rule for all who log, limit, allow or pass on by address.
#pragma once

#include "src/server/core.h"

namespace penstock {

// REQUIRES: ex.connection != nullptr.
[[nodiscard]] const JournalAddress& client_of(const Exchange& ex);

[[nodiscard]] bool is_trusted_proxy(const Settings& settings, const JournalAddress& address);

// Whether a client on this machine sends it for itself: its connection comes from a loopback address or a unix socket,
// and nothing speaks of a proxy there: neither the configuration nor a field of the request.
// REQUIRES: ex.connection != nullptr; the head is parsed.
[[nodiscard]] bool is_local_client(const Settings& settings, const Exchange& ex);

// Finds it out, once the head is parsed. Proxies that are trusted are passed over from the nearest on; the first other
// address is the client's. A hop that is unknown, or has written what cannot be understood, ends the way: then it is
// the last that is known.
void find_client(Core& core, Exchange& ex);

}  // namespace penstock
