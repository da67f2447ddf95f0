// The walk of an exchange: which step follows which, how it waits and how it ends.
//
//   Lookup ── hit ───────────────────────────────► Deliver ──► finished
//      └ miss ► Route ┬► Fill ─────────────────────►┤
//                     └► Dispatch ► a worker ──────►┘
// Every detour (refusal, redirect, error page) rejoins at Deliver.
#pragma once

#include "src/server/core.h"

#include <string_view>

namespace penstock {

// A complete head (`raw`, core.spare->head points into it) becomes an exchange and walks as far as it can.
void begin_exchange(Core& core, Connection& connection, std::string_view raw);
// A head that was refused: answered with `reason`, and the connection closed behind the answer.
void refuse_head(Core& core, Connection& connection, std::string_view raw, Reason reason);

// Goes on with a parked exchange at `step`. The exchange may be gone when it returns.
void resume_exchange(Core& core, Exchange& exchange, Step step);

// The site that answers it, as far as is known: a hit never asks the routes, its entry knows.
[[nodiscard]] const Site* answering_site(const Exchange& exchange);

// Makes the exchange fit to wait: copies the head, because the receive buffer goes back.
void keep_head(Core& core, Exchange& exchange);

// The answer is complete (with the transport, or copied into Outgoing): closes the journal record, gives
// the exchange back, and lets the connection go on to what follows.
void finish_exchange(Core& core, Exchange& exchange);

// Nobody reads the body of its request: says whether the connection can go on behind the answer.
void leave_body_unread(Core& core, Exchange& exchange);

// The connection ends under it: closes the journal record with `why` (aborted). An exchange that leads a
// fill lives on without a connection until the fill is over.
void abandon_exchange(Core& core, Exchange& exchange, Reason why);

// Gives an exchange without a connection back (after leave_fill() said no, when its time has come).
void free_exchange(Core& core, Exchange& exchange);

// Sets the answer to a refusal or a bare status and goes to Deliver.
inline StepResult answer_with(Exchange& exchange, Reason reason, Verdict verdict) {
  exchange.reason = reason;
  exchange.verdict = verdict;
  return StepResult::DELIVER;
}

}  // namespace penstock
