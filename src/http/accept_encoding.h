// Content-coding negotiation (RFC 9110 section 12.5.3). Pure; any thread.
//
// Two ways to the same answer. The parser runs accept_mask_of() on each request: it understands the
// weightless lists that browsers, curl and wget send, and says so by `simple`. Anything with weights takes
// parse_accept_encoding() and choose_coding().
#pragma once

#include "src/base/coding.h"
#include "src/http/request_head.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

// "gzip", "br", "zstd"; "identity", which is never sent.
[[nodiscard]] std::string_view coding_name(Coding coding);

// What a client accepts, as weights in thousandths; 0: not acceptable.
struct AcceptedCodings {
  std::array<uint16_t, CODING_COUNT> weight{};  // by Coding
  // Whether identity was named, by itself or by "*". If not, it is acceptable as a last resort: its weight
  // is then 1, below any that was given (a given weight of 0.001 still goes before it).
  bool identity_named = false;
};

// All Accept-Encoding lines of the request. None: only identity is wanted. "x-gzip" is gzip. An element that is
// malformed is as if absent; of two elements for one coding the first counts.
[[nodiscard]] AcceptedCodings parse_accept_encoding(const RequestHead& head);
// One value; what parse_accept_encoding() does for a single line.
[[nodiscard]] AcceptedCodings parse_accept_encoding(std::string_view value);

struct CodingChoice {
  bool acceptable;  // false: 406, or identity all the same, as the site's policy says
  Coding coding;
};

// The coding to send, given the codings there are besides identity (ACCEPT_* bits). The highest
// weight wins; at equal weight br, then zstd, then gzip, then identity: the order of size for text that
// was compressed ahead of time, where the cost of compressing does not count.
// If nothing fits: {false, IDENTITY}.
[[nodiscard]] CodingChoice choose_coding(const AcceptedCodings& accepted, uint8_t available);

// The same choice where the parser said accept_simple.
[[nodiscard]] CodingChoice choose_coding(uint8_t accept_mask, uint8_t available);

// Either, as the parser found the request's head.
[[nodiscard]] CodingChoice choose_coding(const RequestHead& head, uint8_t available);

struct AcceptMask {
  bool simple;   // one list of known or unknown codings, no weight, no "*", no "identity"
  uint8_t mask;  // ACCEPT_*, if simple
};
[[nodiscard]] AcceptMask accept_mask_of(std::string_view value);

}  // namespace penstock
