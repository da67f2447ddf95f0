// Status and Reason: what was decided on a request, and exactly why.
//
// A Reason is one row of status.def; it carries the status code for the client, and the sub-status
// and the phrase for the log. Every path that refuses a request names one. Pure; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

enum class Reason : uint16_t {
#define X(name, status, sub_status, phrase, text) name,
#include "src/http/status.def"
#undef X
};

struct ReasonInfo {
  uint16_t status;          // 0: the connection ends without an answer; of STATUS_ROUTE it stands in the route
  uint16_t sub_status;      // the second number of "400.26"
  std::string_view name;    // "BARE_LF": the identifier, unique; counters and tests use it
  std::string_view phrase;  // "Invalid_CR/LF": http.sys's word, not unique; the log's reason field
  std::string_view text;    // a sentence for people
};

inline constexpr auto REASONS = std::to_array<ReasonInfo>({
#define X(name, status, sub_status, phrase, text) {status, sub_status, #name, phrase, text},
#include "src/http/status.def"
#undef X
});
inline constexpr size_t REASON_COUNT = REASONS.size();

// REQUIRES: `reason` is an enumerator.
constexpr const ReasonInfo& reason_info(Reason reason) { return REASONS[static_cast<size_t>(reason)]; }
constexpr uint16_t reason_status(Reason reason) { return reason_info(reason).status; }

// The reason phrase of a status line ("Not Found"), for every status of status.def and the other
// registered ones (RFC 9110 section 15, and IANA's list of those of other RFCs); empty for a number
// that is not registered, which RFC 9112 section 4 allows.
[[nodiscard]] std::string_view status_phrase(uint16_t status);

// A response to this status has no body and no Content-Length by rule: 1xx, 204, 304.
constexpr bool status_is_bodiless(uint16_t status) { return status < 200 || status == 204 || status == 304; }

}  // namespace penstock
