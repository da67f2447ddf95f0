// Which connections are to end, and how they are asked to: their next answer says close, HTTP/2 says GOAWAY, and where
// no request comes they end after server.drain_idle_timeout. What has been asked is answered.
//
// All of them while the server drains. By a change of the configuration: those of an address that is listened to no
// more, or speaks something else now, and those of HTTP/2 that were promised what does not hold any more. Functions on
// Core of one reactor.
#pragma once

#include "src/server/core.h"

namespace penstock {

// Its next answer is its last.
[[nodiscard]] bool is_leaving(const Core& core, const Connection& connection);

// Asks it to end. REQUIRES: is_leaving().
void drain_connection(Core& core, Connection& connection);

void drain_all(Core& core);
// And those that are still to be accepted there.
void leave_listener(Core& core, uint32_t listener);
// A listener's connections speak `layers` from the next one on.
void leave_layers(Core& core, uint32_t listener);
void leave_http2(Core& core, const Http2Options& before, const Http2Options& now);

}  // namespace penstock
