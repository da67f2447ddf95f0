// Parsing in tests: one call, with the input at a guard page, and the answer with everything it needs.
#pragma once

#include "src/http/request_parser.h"
#include "tests/support/guard_page.h"
#include "tests/support/head_dump.h"

#include <memory>
#include <string>
#include <string_view>

namespace penstock {

struct Parsed {
  std::unique_ptr<GuardedText> input;
  ParseState state = ParseState::NEED_MORE;
  Reason error = Reason::NONE;
  size_t consumed = 0;
  RequestHead head;

  // "NEED_MORE", "BAD 400.26 BARE_LF <what was read>" or "COMPLETE <consumed> <head>".
  [[nodiscard]] std::string dump() const { return describe(state, error, consumed, head, input->view()); }

  static std::string describe(ParseState state, Reason error, size_t consumed, const RequestHead& head,
                              std::string_view input) {
    if (state == ParseState::NEED_MORE) return "NEED_MORE";
    if (state == ParseState::BAD) {
      return "BAD " + std::string(reason_info(error).name) + " " + dump_refused(head, input);
    }
    return "COMPLETE " + std::to_string(consumed) + " " + dump_head(head, input);
  }
};

inline Parsed parse_text(std::string_view text, const ParseLimits& limits = {}) {
  Parsed parsed;
  parsed.input = std::make_unique<GuardedText>(text);
  RequestParser parser;
  parsed.state = parser.parse(parsed.input->view(), limits, parsed.head);
  if (parsed.state == ParseState::BAD) parsed.error = parser.error();
  if (parsed.state == ParseState::COMPLETE) parsed.consumed = parser.consumed();
  return parsed;
}

// The reason a text is refused for; NONE if it is not.
inline Reason refusal(std::string_view text, const ParseLimits& limits = {}) { return parse_text(text, limits).error; }

}  // namespace penstock
