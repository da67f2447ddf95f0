// Parsing in tests: one call, with the input at a guard page, and the answer with everything it needs.
#pragma once

#include "src/http/request_parser.h"
#include "src/http/same_head.h"
#include "tests/support/guard_page.h"

#include <memory>
#include <ostream>
#include <string>
#include <string_view>

namespace penstock {

inline void PrintTo(Reason reason, std::ostream* out) { *out << reason_info(reason).name; }

struct Answer {
  ParseState state = ParseState::NEED_MORE;
  Reason error = Reason::NONE;
  size_t consumed = 0;
};

// One call of a parser, its answer read as far as the contract lets it be read.
inline Answer ask(RequestParser& parser, std::string_view bytes, const ParseLimits& limits, RequestHead& head) {
  Answer answer{parser.parse(bytes, limits, head)};
  if (answer.state == ParseState::BAD) answer.error = parser.error();
  if (answer.state == ParseState::COMPLETE) answer.consumed = parser.consumed();
  return answer;
}

struct Parsed : Answer {
  std::unique_ptr<GuardedText> input;
  RequestHead head;
};

inline Parsed parse_text(std::string_view text, const ParseLimits& limits = {}) {
  Parsed parsed;
  parsed.input = std::make_unique<GuardedText>(text);
  RequestParser parser;
  static_cast<Answer&>(parsed) = ask(parser, parsed.input->view(), limits, parsed.head);
  return parsed;
}

// The same text byte by byte, at a new address each time; the answer at the byte that decides.
inline Answer parse_bytewise(std::string_view text, const ParseLimits& limits, RequestHead& head, GuardedRoom& even,
                             GuardedRoom& odd, std::string_view& decided_in) {
  RequestParser parser;
  Answer answer;
  for (size_t size = 0; size <= text.size() && answer.state == ParseState::NEED_MORE; ++size) {
    decided_in = (size % 2 == 0 ? even : odd).place(text.substr(0, size));
    answer = ask(parser, decided_in, limits, head);
  }
  return answer;
}

// The reason a text is refused for; NONE if it is not.
inline Reason refusal(std::string_view text, const ParseLimits& limits = {}) { return parse_text(text, limits).error; }

}  // namespace penstock
