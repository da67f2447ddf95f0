// SYN cookies (RFC 4987 section 3.6): the state of a half-open connection, kept by the peer in our own sequence number.
//
// ISN = [5 bits: minute of issue mod 32][3 bits: which MSS][24 bits: keyed hash of socket pair, the peer's ISN and the
// former]. A cookie is good for one to two minutes; a guess succeeds once in 2^24 / 2. What does not fit (window scale,
// SACK) goes into the low bits of our timestamp, when the peer uses timestamps; else it is given up. Pure.
#pragma once

#include "src/base/time.h"
#include "src/net/seq_num.h"
#include "src/net/tcp_tuple.h"

#include <optional>

namespace penstock {

[[nodiscard]] SeqNum make_syn_cookie(const SipKey& key, const TcpTuple& tuple, SeqNum peer_isn, uint16_t mss,
                                     MonoTime now);
// The MSS (the peer's, rounded down to one of eight) when `cookie` is one of ours for this peer and not too old.
[[nodiscard]] std::optional<uint16_t> check_syn_cookie(const SipKey& key, const TcpTuple& tuple, SeqNum peer_isn,
                                                       SeqNum cookie, MonoTime now);

struct CookieOptions {
  bool has_window_scale = false;
  uint8_t window_scale = 0;
  bool sack_permitted = false;
  bool operator==(const CookieOptions&) const = default;
};
inline constexpr uint32_t COOKIE_TIMESTAMP_BITS = 5;
// A timestamp not after `ts_now` that carries `options`, and back.
[[nodiscard]] uint32_t put_cookie_options(uint32_t ts_now, const CookieOptions& options);
[[nodiscard]] CookieOptions cookie_options_of(uint32_t ts_ecr);

}  // namespace penstock
