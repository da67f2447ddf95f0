// TcpTuple: the two ends that make a connection (RFC 9293 section 3.3.1: the socket pair), ours first.
#pragma once

#include "src/net/siphash.h"
#include "src/net/wire/ip_address.h"

#include <cstdint>

namespace penstock {

struct TcpTuple {
  IpAddress local;
  IpAddress remote;
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  bool operator==(const TcpTuple&) const = default;
  [[nodiscard]] uint64_t keyed_hash(const SipKey& key) const {
    return siphash(key, {reinterpret_cast<const uint8_t*>(this), sizeof *this});
  }
};
static_assert(sizeof(TcpTuple) == 36, "hashed as bytes: there must be no padding");

}  // namespace penstock
