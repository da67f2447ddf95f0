// The head of an application's answer, written anew: what a worker says of names, values and length is checked and
// re-serialised, so that nothing it sends can split a response or break the connection's framing.
//
// Pure. Fields that are the front end's own business are dropped: Connection and what belongs to it, Content-Length,
// Transfer-Encoding, Trailer, Upgrade, Date, Server (RFC 9110 sections 7.6.1, 6.6.1, 8.6, 10.2.4); and Cache-Tag, which
// is for our cache alone.
#pragma once

#include "pool/ring/server_link.h"
#include "src/http/response_head.h"
#include "src/server/pools/dispatch.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

struct AnswerHead {
  uint16_t status = 200;
  std::span<const LinkField> fields;
  std::string_view site_fields;  // whole field lines that the site adds to every answer
  AnswerFraming framing = AnswerFraming::NONE;
  uint64_t length = PENSTOCK_LENGTH_UNKNOWN;  // of the body, or what it would be for HEAD
  bool keep_alive = true;
  bool http_1_0 = false;
};

// Whether a field of that name is the front end's own business.
[[nodiscard]] bool is_front_end_field(std::string_view name);

// Bytes that surely hold it.
[[nodiscard]] size_t answer_head_bytes_max(const AnswerHead& head);

// Into `out`; empty: a field is not what HTTP allows, or it did not fit.
[[nodiscard]] std::string_view write_answer_head(std::span<char> out, const AnswerHead& head, int64_t unix_seconds,
                                                 ServerHeaderMode server);

}  // namespace penstock
