// complete_request_head: what RFC 9110 and 9112 ask of a head as a whole, once its lines are read. Private to
// RequestParser (and later HTTP/2): target form, Host, framing, Connection, Expect, the plain bit. Pure.
#pragma once

#include "src/http/request_head.h"
#include "src/http/status.h"

namespace penstock {

// REQUIRES: method, method_text, version_minor, target, path (the target up to '?'), query, has_query and the
// field lines with their sets are filled. Fills the rest. NONE, or why the request is refused.
[[nodiscard]] Reason complete_request_head(RequestHead& head);

}  // namespace penstock
