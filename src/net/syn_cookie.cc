#include "src/net/syn_cookie.h"

#include <cstddef>

namespace penstock {
namespace {

constexpr Duration STEP = seconds(60);
// The values seen in the wild, and the least that IPv4 and IPv6 promise.
constexpr uint16_t MSS_TABLE[8] = {64, 536, 1'220, 1'300, 1'400, 1'440, 1'460, 8'900};
constexpr uint32_t NO_SCALE = 15;

uint32_t minute_of(MonoTime now) { return static_cast<uint32_t>(now.ns / STEP.ns) & 31; }

uint32_t tag_of(const SipKey& key, const TcpTuple& tuple, SeqNum peer_isn, uint32_t minute, uint32_t mss_index) {
  // Two keyed hashes: one binds the socket pair, the other what is said of it.
  const uint64_t words[2] = {tuple.keyed_hash(key),
                             static_cast<uint64_t>(peer_isn.value) << 32 | minute << 8 | mss_index};
  return static_cast<uint32_t>(siphash(key, {reinterpret_cast<const uint8_t*>(words), sizeof words})) & 0x00ff'ffff;
}

}  // namespace

SeqNum make_syn_cookie(const SipKey& key, const TcpTuple& tuple, SeqNum peer_isn, uint16_t mss, MonoTime now) {
  uint32_t index = 0;
  while (index < 7 && MSS_TABLE[index + 1] <= mss) ++index;
  const uint32_t minute = minute_of(now);
  return {minute << 27 | index << 24 | tag_of(key, tuple, peer_isn, minute, index)};
}

std::optional<uint16_t> check_syn_cookie(const SipKey& key, const TcpTuple& tuple, SeqNum peer_isn, SeqNum cookie,
                                         MonoTime now) {
  const uint32_t minute = cookie.value >> 27;
  const uint32_t index = cookie.value >> 24 & 7;
  if (((minute_of(now) - minute) & 31) > 1) return std::nullopt;
  if ((cookie.value & 0x00ff'ffff) != tag_of(key, tuple, peer_isn, minute, index)) return std::nullopt;
  return MSS_TABLE[index];
}

uint32_t put_cookie_options(uint32_t ts_now, const CookieOptions& options) {
  const uint32_t bits =
      (options.has_window_scale ? options.window_scale : NO_SCALE) | (options.sack_permitted ? 16U : 0U);
  const uint32_t mask = (1U << COOKIE_TIMESTAMP_BITS) - 1;
  const uint32_t stamp = (ts_now & ~mask) | bits;
  return static_cast<int32_t>(stamp - ts_now) > 0 ? stamp - (mask + 1) : stamp;
}

CookieOptions cookie_options_of(uint32_t ts_ecr) {
  const uint32_t scale = ts_ecr & 15;
  CookieOptions options;
  options.has_window_scale = scale != NO_SCALE;
  if (options.has_window_scale) options.window_scale = static_cast<uint8_t>(scale);
  options.sack_permitted = (ts_ecr & 16) != 0;
  return options;
}

}  // namespace penstock
