// TcpTuple: the two ends that make a connection (RFC 9293 section 3.3.1: the socket pair), ours first.
#pragma once

#include "src/net/siphash.h"
#include "src/net/wire/ip_address.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace penstock {

struct TcpTuple {
  IpAddress local;
  IpAddress remote;
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  bool operator==(const TcpTuple&) const = default;
  // Of both ends. IPv4 has few bytes that differ, and only these are hashed: the number of bytes, which is hashed
  // along, tells the versions apart.
  [[nodiscard]] uint64_t keyed_hash(const SipKey& key) const {
    if (local.is_v4() && remote.is_v4()) {
      std::array<uint8_t, 12> ends;
      std::memcpy(&ends[0], &local.bytes[12], 4);
      std::memcpy(&ends[4], &remote.bytes[12], 4);
      std::memcpy(&ends[8], &local_port, 2);
      std::memcpy(&ends[10], &remote_port, 2);
      return siphash(key, ends);
    }
    return siphash(key, {reinterpret_cast<const uint8_t*>(this), sizeof *this});
  }
};
static_assert(sizeof(TcpTuple) == 36, "hashed as bytes: there must be no padding");

}  // namespace penstock
