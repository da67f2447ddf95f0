// HttpsRedirect: what a site says to requests that came without TLS (site.NAME.https_redirect), made once for each
// generation of the config, so that an answer is a few copies and no allocation. Immutable; any thread.
#pragma once

#include "src/config/settings.h"
#include "src/http/response_head.h"
#include "src/http/status.h"
#include "src/route/route_table.h"

#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct HttpsRedirect {
  Reason reason = Reason::NONE;  // NONE: the site serves such requests
  // The answer is head, the host, port, the target, rest, a Connection line where needed, an empty line, page.
  std::string head;  // its date at date_offset() of the status; ends in "Location: https://"
  std::string port;  // ":8443", or empty
  std::string rest;  // from the end of Location's line: the site's own field lines
  std::string page;
  std::string host;  // for clients that name none; empty: there is no such name
};

// By Site::number; empty where no site redirects.
[[nodiscard]] std::vector<HttpsRedirect> make_https_redirects(const Settings& settings, const RouteTable& routes,
                                                              ServerHeaderMode server);

// "/.well-known/acme-challenge/TOKEN" (RFC 8555 section 8.3), which is asked for without TLS, and nothing that a path
// could be climbed with.
[[nodiscard]] bool is_acme_challenge(std::string_view path);

}  // namespace penstock
