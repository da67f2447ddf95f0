// SeqNum: a sequence number of RFC 9293 section 3.4, in arithmetic modulo 2^32.
//
// Order is by distance: a < b when b lies less than 2^31 ahead. It is no total order (never sort by it), but within a
// window, which is at most 2^30 wide (RFC 7323 section 2.3), it is one.
#pragma once

#include <cstdint>

namespace penstock {

struct SeqNum {
  uint32_t value = 0;
  constexpr bool operator==(const SeqNum&) const = default;
};

constexpr SeqNum operator+(SeqNum a, uint32_t bytes) { return {a.value + bytes}; }
constexpr SeqNum operator-(SeqNum a, uint32_t bytes) { return {a.value - bytes}; }
// How far `a` is ahead of `b`; negative when it is behind.
constexpr int32_t operator-(SeqNum a, SeqNum b) { return static_cast<int32_t>(a.value - b.value); }
constexpr bool operator<(SeqNum a, SeqNum b) { return a - b < 0; }
constexpr bool operator<=(SeqNum a, SeqNum b) { return a - b <= 0; }
constexpr bool operator>(SeqNum a, SeqNum b) { return a - b > 0; }
constexpr bool operator>=(SeqNum a, SeqNum b) { return a - b >= 0; }
constexpr SeqNum seq_max(SeqNum a, SeqNum b) { return a < b ? b : a; }
constexpr SeqNum seq_min(SeqNum a, SeqNum b) { return a < b ? a : b; }
// From `from` to `to`. REQUIRES: from <= to.
constexpr uint32_t seq_bytes(SeqNum from, SeqNum to) { return to.value - from.value; }

}  // namespace penstock
