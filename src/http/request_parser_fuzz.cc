// Whatever the bytes: the SIMD parser and the plain one say the same, so do all ways of cutting the input, and a
// head that is accepted keeps what RequestHead promises; what is refused has a reason with an answer.

#include "src/base/assert.h"
#include "src/base/prng.h"
#include "src/http/host.h"
#include "src/http/request_parser.h"
#include "src/http/same_head.h"
#include "src/http/syntax.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace penstock {
namespace {

struct Answer {
  ParseState state = ParseState::NEED_MORE;
  Reason error = Reason::NONE;
  size_t consumed = 0;
};

Answer answer_of(const RequestParser& parser, ParseState state) {
  Answer answer{state};
  if (state == ParseState::BAD) answer.error = parser.error();
  if (state == ParseState::COMPLETE) answer.consumed = parser.consumed();
  return answer;
}

void check_same(const Answer& a, const RequestHead& a_head, std::string_view a_input, const Answer& b,
                const RequestHead& b_head, std::string_view b_input) {
  ASSERT(a.state == b.state && a.error == b.error && a.consumed == b.consumed);
  ASSERT((a.state == ParseState::BAD) == (reason_status(a.error) >= 400));
  if (a.state == ParseState::COMPLETE) ASSERT(same_head(a_head, a_input, b_head, b_input));
  if (a.state == ParseState::BAD) ASSERT(same_refused(a_head, a_input, b_head, b_input));
}

void check_promises(const RequestHead& head, size_t consumed, std::string_view input) {
  ASSERT(consumed <= input.size() && input.substr(0, consumed).ends_with("\r\n\r\n"));
  ASSERT(is_http_token(head.method_text) && !head.target.empty());
  for (const HeaderField& field : head.fields()) {
    ASSERT(is_http_token(field.name));
    for (const char c : field.value) ASSERT(is_syntax(c, SYNTAX_VALUE));
  }
  ASSERT(head.version_minor == 0 || host_is_valid(head.authority));
  ASSERT(head.form != TargetForm::ORIGIN || head.path.starts_with('/'));
  ASSERT((head.body == BodyKind::LENGTH) == (head.content_length != 0));
  if (head.plain) {
    ASSERT(head.method == Method::GET || head.method == Method::HEAD);
    ASSERT(head.body == BodyKind::NONE && head.version_minor == 1 && head.form == TargetForm::ORIGIN);
    ASSERT((head.present & NOT_PLAIN_FIELDS) == 0 && !head.expect_continue);
  }
}

// Cut into pieces of random sizes, each step in a buffer of its own.
Answer parse_in_pieces(std::string_view text, const ParseLimits& limits, Prng& prng, bool plain, RequestHead& head,
                       std::vector<char>& buffer) {
  RequestParser parser;
  ParseState state = ParseState::NEED_MORE;
  size_t size = 0;
  while (state == ParseState::NEED_MORE) {
    std::vector<char> next(text.begin(), text.begin() + static_cast<ptrdiff_t>(size));
    buffer.swap(next);
    const std::string_view bytes(buffer.data(), size);
    state = plain ? parser.parse_plain(bytes, limits, head) : parser.parse(bytes, limits, head);
    if (size == text.size()) break;
    size += 1 + prng.below(static_cast<uint32_t>(std::min<size_t>(text.size() - size, 1 + text.size() / 4)));
  }
  return answer_of(parser, state);
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  ParseLimits limits;
  if ((data[0] & 1) != 0) {
    limits = {.head_bytes = 300, .field_bytes = 60, .url_bytes = 40, .query_bytes = 20, .fields = 5, .verb_bytes = 8};
  }
  Prng prng(data[1]);
  const auto fast = std::make_unique<RequestHead>();
  const auto other = std::make_unique<RequestHead>();

  RequestParser parser;
  const ParseState state = parser.parse(text, limits, *fast);
  const Answer whole = answer_of(parser, state);
  if (whole.state == ParseState::COMPLETE) check_promises(*fast, whole.consumed, text);
  ASSERT((whole.state == ParseState::BAD) == (whole.error != Reason::NONE));

  RequestParser plain_parser;
  const ParseState plain_state = plain_parser.parse_plain(text, limits, *other);
  check_same(whole, *fast, text, answer_of(plain_parser, plain_state), *other, text);

  std::vector<char> buffer;
  for (const bool plain : {false, true}) {
    const Answer pieces = parse_in_pieces(text, limits, prng, plain, *other, buffer);
    check_same(whole, *fast, text, pieces, *other, {buffer.data(), buffer.size()});
  }
  return 0;
}
