// Streams of HTTP/2: connections of one request, on a connection that carries them (h2_transport.h).
//
// The carrier is what limits of connections, idle timeouts and drains are about; a stream is what is read, answered and
// timed like any other. Functions on (Core, Connection) of one reactor, like connections.h.
#pragma once

#include "src/server/core.h"

namespace penstock {

// A connection that was just accepted is a stream of `carrier`.
void begin_stream(Core& core, Connection& stream, Handle carrier);
// It has ended: a carrier without streams waits for the next, or ends. Called once; the carrier may be gone.
void end_stream(Core& core, const Connection& stream);
// The patience of a carrier that drains is over: it takes no more streams.
void refuse_streams(Core& core, Connection& carrier);

}  // namespace penstock
