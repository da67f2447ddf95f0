// Whatever the conditional fields: the verdict is one that the method and the fields allow.

#include "src/base/assert.h"
#include "src/http/conditional.h"
#include "src/http/request_parser.h"

#include <memory>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 1) return 0;
  const unsigned bits = data[0];
  std::string text = (bits & 1) != 0 ? "PUT" : (bits & 2) != 0 ? "HEAD" : "GET";
  text += " / HTTP/1.1\r\nHost: h\r\n";
  text.append(reinterpret_cast<const char*>(data) + 1, size - 1);
  text += "\r\n\r\n";
  const auto head = std::make_unique<RequestHead>();
  RequestParser parser;
  if (parser.parse(text, {}, *head) != ParseState::COMPLETE) return 0;
  const Validators validators{.exists = (bits & 4) == 0,
                              .etag = (bits & 8) != 0    ? "W/\"a\""
                                      : (bits & 16) != 0 ? "\"a\""
                                                         : "",
                              .last_modified = (bits & 32) != 0 ? std::optional<int64_t>(784111777) : std::nullopt};
  const ConditionalVerdict verdict = evaluate_conditional(*head, validators, 784111777 + (bits >> 6));
  const bool get_or_head = head->method == Method::GET || head->method == Method::HEAD;
  if (!head->has_conditional) ASSERT(verdict.outcome == Precondition::PROCEED);
  if (verdict.outcome == Precondition::NOT_MODIFIED) {
    ASSERT(get_or_head);
    ASSERT(head->has(Field::IF_NONE_MATCH) || head->has(Field::IF_MODIFIED_SINCE));
  }
  if (verdict.honour_range) {
    ASSERT(verdict.outcome == Precondition::PROCEED && head->method == Method::GET && head->has_range);
  }
  const bool star = head->get(Field::IF_NONE_MATCH) == "*" && !head->has(Field::IF_MATCH);
  if (star && validators.exists) ASSERT(verdict.outcome != Precondition::PROCEED);
  return 0;
}
