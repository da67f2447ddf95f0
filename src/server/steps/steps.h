// The steps of an exchange, one file each. A step reads what the earlier ones found in the Exchange and
// adds its own; it says what comes next (StepResult) and never calls another step.
#pragma once

#include "src/server/core.h"

#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// Asks the cache by the raw key. A hit goes straight to Deliver: no route, no file, no allocation.
[[nodiscard]] StepResult lookup_step(Core& core, Exchange& exchange);

// Where the lookup under the request's own key (key_hash) found nothing fresh: what that leads to, the entry for this
// request's fields, or one that may answer although its lifetime is over. Sets entry and verdict, or cache_target and
// key_hash to what is to be filled. False: none.
[[nodiscard]] bool lookup_kept(Core& core, Exchange& exchange);

// The names that a marker of variants leads by.
[[nodiscard]] std::vector<std::string> names_of_marker(const Entry& marker);

// Over TLS only? Asked before the cache, of requests that came without, where a site is (Snapshot::https_redirects).
[[nodiscard]] StepResult https_step(Core& core, Exchange& exchange);

// For what of `limits` the request's head is too much; NONE: for nothing.
[[nodiscard]] Reason head_beyond(const Exchange& exchange, const HeadLimits& limits);

// Host to site, path to canonical path, both to a route; refuses what the route does not take.
[[nodiscard]] StepResult route_step(Core& core, Exchange& exchange);

// The site for the request's host, or nullptr.
[[nodiscard]] const Site* find_site_of(const Exchange& exchange);
// NONE, or why the client's certificate, or that it has none, keeps it from this site. Sets `certified`.
[[nodiscard]] Reason look_at_client(Core& core, Exchange& exchange, const Site& site);
// Whether look_at_client() lets it by to a file, and no further, though a certificate is required.
[[nodiscard]] bool asks_for_challenge(const Exchange& exchange);
// Answers with that reason.
[[nodiscard]] StepResult refuse_client(Core& core, Exchange& exchange, Reason reason);
// Whether the cache is not to be asked before the route was: the site of this request has filters, or looks at
// certificates and would not let it in, or would as somebody of his own.
[[nodiscard]] bool is_looked_at_first(Core& core, Exchange& exchange);

// Has the file read, once for everyone who wants it, and parks. Later: load_done(), fill_done().
[[nodiscard]] StepResult fill_step(Core& core, Exchange& exchange);
// `from` is answered with a file's entry whose lifetime was ended: reads the file anew, once, while nobody waits.
void refresh_file(Core& core, const Exchange& from);
// The loader has finished for this exchange. Consumes the result.
void load_done(Core& core, Exchange& exchange, LoadResult& result);
// The fill that this exchange waited for is over; `entry` comes with a pin, or is nullptr.
void fill_done(Core& core, Exchange& exchange, const Entry* entry);
// Hands the result to everyone who waited for this exchange's fill, each with a pin of its own; nullptr: there is none
// that can be shared. Does nothing if the exchange does not lead one (any more).
void complete_fill(Core& core, Exchange& exchange, const Entry* entry);
// A parked exchange whose connection has ended gives up its place. True if the exchange is free now;
// false if the loader or a message still names it.
[[nodiscard]] bool leave_fill(Core& core, Exchange& exchange);

// PURGE, its site and path known: purges, and parks until purge_done(), or refuses.
[[nodiscard]] StepResult purge_step(Core& core, Exchange& exchange);
void purge_done(Core& core, Exchange& exchange, uint64_t fell);

// An application named `target`, a URL of the same site, in place of its answer: walks on from its route.
void execute_instead(Core& core, Exchange& exchange, std::string_view target);

// Composes the answer and sends it, or as much of it as there is room for.
[[nodiscard]] StepResult deliver_step(Core& core, Exchange& exchange);

}  // namespace penstock
