// From an exchange to the head of a request as a worker reads it.
#pragma once

#include "src/server/exchange.h"

#include <cstdint>
#include <span>

namespace penstock {

// Writes the head into `room`; its bytes, or 0 if it does not fit. REQUIRES: the exchange was routed, its head is kept
// or still in the receive buffer.
[[nodiscard]] uint32_t write_request(std::span<char> room, const Exchange& exchange);

}  // namespace penstock
