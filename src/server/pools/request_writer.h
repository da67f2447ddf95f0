// From an exchange to the head of a request as a worker reads it.
#pragma once

#include "src/server/exchange.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

// Of the certificate that the client showed: what Transport::layer() says. Only looked at where `certified`.
struct ClientIdentity {
  std::string_view subject;
  std::string_view fingerprint;
};

// Writes the head into `room`; its bytes, or 0 if it does not fit. REQUIRES: the exchange was routed, its head is kept
// or still in the receive buffer.
// `pass_authorization`: of the pool; without it that field is left out.
[[nodiscard]] uint32_t write_request(std::span<char> room, const Exchange& exchange, const ClientIdentity& client,
                                     bool pass_authorization);

// A GET of ours, which no client asked for.
struct WarmUpRequest {
  std::string_view host;
  std::string_view target;
  std::string_view path;  // canonical
  std::string_view site;
  std::string_view route_prefix = "/";
};
// The same for it.
[[nodiscard]] uint32_t write_warm_up_request(std::span<char> room, const WarmUpRequest& request);

}  // namespace penstock
