// Preconditions: the precedence table of RFC 9110 section 13.2.2 as one pure function. Any thread.
#pragma once

#include "src/http/request_head.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace penstock {

// The validators of the representation that would be sent.
struct Validators {
  bool exists = true;                    // there is a current representation ("*" asks for that)
  std::string_view etag;                 // as in the ETag field: "\"abc\"" or "W/\"abc\""; empty if there is none
  std::optional<int64_t> last_modified;  // unix seconds
};

enum class Precondition : uint8_t {
  PROCEED,       // do what the method says
  NOT_MODIFIED,  // 304
  FAILED         // 412
};

struct ConditionalVerdict {
  Precondition outcome = Precondition::PROCEED;
  bool honour_range = false;  // there is a Range, and neither method nor If-Range sets it aside
};

// `now` (unix seconds) is the time of the answer. A list that is malformed counts as far as it can be read; a date
// that is malformed, or a field that must be single and is repeated, is as if absent (If-Range: as if it did not
// match).
[[nodiscard]] ConditionalVerdict evaluate_conditional(const RequestHead& head, const Validators& validators,
                                                      int64_t now);

// RFC 9110 section 8.8.3.2. Either may be weak; both in the form of the ETag field.
[[nodiscard]] bool etag_strong_equal(std::string_view a, std::string_view b);
[[nodiscard]] bool etag_weak_equal(std::string_view a, std::string_view b);

// Whether one value of If-Match or If-None-Match lists `etag` or is "*" (which lists any that exists).
enum class EtagComparison : uint8_t { STRONG, WEAK };
[[nodiscard]] bool etag_list_matches(std::string_view list, const Validators& validators, EtagComparison comparison);

}  // namespace penstock
