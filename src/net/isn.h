// Initial sequence numbers (RFC 6528): ISN = M + F(socket pair, secret), M a clock of 4 microseconds. And the offset of
// a connection's timestamp clock (RFC 7323 section 5.4), the same for all connections of one socket pair, so that
// timestamps go on rising from one to the next. Pure.
#pragma once

#include "src/base/time.h"
#include "src/net/seq_num.h"
#include "src/net/tcp_tuple.h"

namespace penstock {

inline SeqNum initial_sequence_number(const SipKey& key, const TcpTuple& tuple, MonoTime now) {
  // The half that the connection table does not go by: numbers are seen by everybody, places in it must be by nobody.
  return {static_cast<uint32_t>(now.ns / 4'000) + static_cast<uint32_t>(tuple.keyed_hash(key) >> 32)};
}

inline uint32_t timestamp_offset(const SipKey& key, const TcpTuple& tuple) {
  return static_cast<uint32_t>(tuple.keyed_hash({key[1], ~key[0]}));
}

}  // namespace penstock
