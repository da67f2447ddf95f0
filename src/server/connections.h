// The life of a connection: accept, bytes in, answers out, deadlines, the end.
//
// Functions on (Core, Connection) of one reactor; they keep no state of their own. Bytes go in by
// connection_received(), complete heads become exchanges (walk.h), answers are put into the
// connection's Outgoing and leave together at the end of the turn by flush_all(). In admission.cc
// stands how it begins, in sends.cc what leaves it, in deadlines.cc what its timer does.
// A Connection is destroyed by end_connection() and connection_released() only, never under a caller
// that is still reading from it.
#pragma once

#include "src/server/core.h"

#include <string_view>

namespace penstock {

// Events of the transport, one function each.
void connection_accepted(Core& core, const TransportEvent& event);
void connection_received(Core& core, Connection& connection, std::string_view bytes);
void connection_peer_closed(Core& core, Connection& connection);
void connection_sent(Core& core, Connection& connection);
void connection_failed(Core& core, Connection& connection, int error);
void connection_released(Core& core, Connection& connection);    // CLOSED: the last parts are free
void connection_noted(Core& core, const TransportEvent& event);  // a layer refused something that is no connection here
void count_by_client(Core& core);  // limits.connections_per_client came to hold: for those, too, who are there

// The connection's timer fired.
void connection_timer(Core& core, Connection& connection);

// An exchange of this connection has ended and its answer is in `filling`: what comes next?
void connection_answered(Core& core, Connection& connection, const Exchange& exchange);
// Input that was kept back may be used again. May answer further requests; may not destroy.
void connection_go_on(Core& core, Connection& connection);

// An Outgoing with room for `bytes` copied bytes and `parts` parts by reference, or nullptr when the
// connection must first get rid of what it has (resumed at SENT). REQUIRES: bytes <= Outgoing::BYTES_MAX.
[[nodiscard]] Outgoing* room_for(Core& core, Connection& connection, size_t bytes, size_t parts);

// Hands the turn's answers to the transport: of every connection that was marked.
void mark_for_flush(Core& core, Connection& connection);
void flush_all(Core& core);

enum class EndKind : uint8_t { CLOSE, RESET, REFUSE };  // REFUSE: Transport::reset_refused()
// Ends it now; an exchange in flight is abandoned (its journal record closed with `why`).
void end_connection(Core& core, Connection& connection, EndKind kind, Reason why);

// Answers it 503, prebuilt, before any head is read (limits; no slot in the journal), and closes it.
void refuse_connection(Core& core, Connection& connection, Reason reason);

// A record for a connection that ends, or a refusal, with no request to tell of it.
void record_connection(Core& core, const ConnectionFacts& facts, Reason reason, uint64_t head_bytes_out = 0);

// The connection's last answer is `exchange`'s: its patience is that of its site.
void remember_site(Connection& connection, const Exchange& exchange);
// As the config of this turn has it.
[[nodiscard]] const Patience& patience_with(const Core& core, const Connection& connection);
// It waits for a request now, and not for ever. While the server drains, a close that crosses a request on its way
// would lose it: who asks often asks soon, and is answered and told to close.
void await_request(Core& core, Connection& connection);

// Sets when and why the connection's patience ends.
void set_deadline(Core& core, Connection& connection, DeadlineKind kind, Duration from_now);

}  // namespace penstock
