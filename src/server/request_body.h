// The body of a request that no application reads: it is read and dropped, so that the connection stays usable.
//
// One of known length is left for after the answer (DRAINING). Before the end of a chunked one nobody knows whether its
// framing is good, so its request's answer is *held*: bad framing is answered 400 and nothing else, one record, however
// the bytes come. Whatever is refused for its head is not held, nor is who waits for 100 Continue, nor an HTTP/2
// stream.
#pragma once

#include "src/server/core.h"

#include <string_view>

namespace penstock {

// Uses the body of an answered request from the front of `bytes`; returns how many were used.
[[nodiscard]] size_t drain_body(Core& core, Connection& connection, std::string_view bytes);

// Whether an exchange with a chunked body, which would go on at `next`, is to be held before that.
[[nodiscard]] bool waits_for_body(const Exchange& exchange, Step next);
// Holds it. REQUIRES: its head is kept; the connection offers what it reads to read_held_body().
void hold_answer(Core& core, Exchange& exchange, Step next);

// Reads on in the body of a held exchange. At its end, or when there is more of it than limits.drain_bytes, the
// exchange goes on; refused if it is malformed or longer than the site takes. Returns how many bytes were used, never
// 0.
[[nodiscard]] size_t read_held_body(Core& core, Connection& connection, std::string_view bytes);
// Answers a held exchange with `why`, and closes behind that.
void refuse_held(Core& core, Connection& connection, Reason why);

}  // namespace penstock
