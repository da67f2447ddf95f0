// Client certificates: whether this request may have anything of a site that looks at them.
//
// A certificate belongs to the connection and was judged for the site of its handshake (SNI). A request for a site with
// other rules must come over a connection of its own (RFC 9110 section 7.4): else who was let in by one site could
// walk on into another. Rules that change apply to connections that are open: their certificates are judged anew, or,
// where the rules are others now, the client is sent to make another connection.
//
// One thing a site that requires certificates has for everybody: files under /.well-known/acme-challenge/, without TLS.
// The CA that is asked for the site's own certificate looks there (RFC 8555 section 8.3), and has none to show.
#include "src/http/host.h"
#include "src/server/connection.h"
#include "src/server/https_redirect.h"
#include "src/server/steps/steps.h"

#include <array>

namespace penstock {

const Site* find_site_of(const Exchange& ex) {
  std::array<char, HOST_NAME_BYTES_MAX> room;
  const HostName host = normalise_host(ex.head.authority, room);
  return ex.config->routes.find_site(host.name);  // HTTP/1.0 may come without one: the site for any host
}

Reason look_at_client(Core& core, Exchange& ex, const Site& site) {
  if (ex.connection == nullptr) return Reason::NONE;  // refresh_file(): who caused it was looked at
  const Connection& c = *ex.connection;
  if (c.secure && c.client_rules != site.client_rules) return Reason::CLIENT_RULES_DIFFER;
  if (site.client_rules == 0) return Reason::NONE;
  const LayerFacts facts = c.secure ? core.transport.layer(c.handle) : LayerFacts{};
  if (facts.client_refused != 0) return static_cast<Reason>(facts.client_refused);
  if (facts.client_fingerprint.empty()) {
    return !site.client_required || asks_for_challenge(ex) ? Reason::NONE : Reason::CLIENT_CERTIFICATE_MISSING;
  }
  ex.certified = true;
  return Reason::NONE;
}

bool asks_for_challenge(const Exchange& ex) {
  const RequestHead& head = ex.head;
  return ex.connection != nullptr && !ex.connection->secure && is_acme_challenge(head.path) &&
         (head.method == Method::GET || head.method == Method::HEAD);
}

bool is_looked_at_first(Core& core, Exchange& ex) {
  const Site* const site = find_site_of(ex);
  return site != nullptr && (site->filtered || look_at_client(core, ex, *site) != Reason::NONE || ex.certified);
}

StepResult refuse_client(Core& core, Exchange& ex, Reason reason) {
  const Connection& c = *ex.connection;
  // With another certificate the client comes by another handshake, so by another connection.
  ex.keep_alive = false;
  ex.lingers = true;
  if (c.stream && core.transport.is_open(c.carrier)) core.transport.drain(c.carrier);
  ex.reason = reason;
  ex.verdict = Verdict::AUTHORIZATION;
  return StepResult::DELIVER;
}

}  // namespace penstock
