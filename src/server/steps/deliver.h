// The pieces of Deliver, shared by its files: deliver.cc (hot), deliver_representation.cc (conditions,
// ranges, streams), https.cc (redirects to https), deliver_text.cc (refusals and other redirects).
#pragma once

#include "src/server/core.h"

#include <string_view>

namespace penstock {

// Parks until the connection's send has ended; Deliver is then called again.
[[nodiscard]] StepResult wait_for_sent(Exchange& exchange);

// The end of a head whose last field line is written: the Connection line that this request needs, the empty line.
[[nodiscard]] std::string_view head_ending(const Exchange& exchange);

// Copies a stored head with this second's date and the Connection line that this request needs. Returns
// the bytes. REQUIRES: `out` has room for head.size() + 32 bytes.
size_t copy_head(Outgoing& out, std::string_view head, size_t date_at, const Core& core, const Exchange& exchange);

// The same for an application's answer, which keeps its date and tells its age (RFC 9111 section 5.1). REQUIRES: room
// for head.size() + 64 bytes.
size_t copy_aged_head(Outgoing& out, std::string_view head, const Core& core, const Exchange& exchange);
// An application's answer whole, whatever the request's conditions.
[[nodiscard]] StepResult deliver_answer(Core& core, Exchange& exchange, const Variant& variant);

// An entry whose answer is not simply its head and body: conditions, ranges, weights, an error page.
[[nodiscard]] StepResult deliver_from_entry(Core& core, Exchange& exchange);
// A file that is too large for the cache.
[[nodiscard]] StepResult deliver_stream(Core& core, Exchange& exchange);
// The head is out: as many of the remaining segments as there is room for.
[[nodiscard]] StepResult deliver_segments(Core& core, Exchange& exchange);
// The redirect that https_step() found.
[[nodiscard]] StepResult deliver_https(Core& core, Exchange& exchange);
// Whether the client is told of a refusal what the log has of it, in place of an error page.
[[nodiscard]] bool tells_details(const Exchange& exchange);
// An answer that is told by its reason alone.
[[nodiscard]] StepResult deliver_text(Core& core, Exchange& exchange);

}  // namespace penstock
