// How a request begins on the wire: SCGI (the protocol's page of 2008-06-23), uwsgi (uWSGI's uwsgi protocol page) and
// HTTP/1.1 (RFC 9112). What follows is its body, over HTTP in chunks where its length is not known. Pure.
#pragma once

#include "pool/runtimes/gateway/meta_variables.h"

#include <cstddef>
#include <string>

namespace penstock {

inline constexpr size_t UWSGI_BYTES_MAX = 65'535;  // of all variables: their size is a number of 16 bits

// Each appends to `to`. False: it cannot be said, and nothing was appended.
void put_scgi_request(std::string& to, const MetaVariables& variables);
[[nodiscard]] bool put_uwsgi_request(std::string& to, const MetaVariables& variables);
// The target as it came, and the fields but for those of the connection, those whose names are not letters, digits and
// hyphens, and those that only the front end may say: Forwarded, X-Forwarded-*, X-Real-IP, X-SSL-Client-*. Of these,
// X-Forwarded-For, -Proto, -Host and, for a site that asks for certificates, X-SSL-Client-* are set. False: a control
// character would end a field before its time.
[[nodiscard]] bool put_http_request(std::string& to, const GatewayRequest& request);

}  // namespace penstock
