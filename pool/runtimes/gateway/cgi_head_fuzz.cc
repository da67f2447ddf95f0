// Whatever the bytes: a head comes out the same however it is cut, within its limit, and with nothing in it that could
// be taken for the end of a field.

#include "pool/runtimes/gateway/cgi_head.h"
#include "src/base/assert.h"
#include "src/base/prng.h"

#include <algorithm>
#include <string_view>

namespace penstock {
namespace {

using State = CgiHeadParser::State;

struct Fed {
  CgiHeadParser parser;
  State state = State::NEED_MORE;
  size_t consumed = 0;
};

void feed(Fed& to, std::string_view text, Prng* prng) {
  while (to.state == State::NEED_MORE && to.consumed < text.size()) {
    const size_t left = text.size() - to.consumed;
    const size_t piece = prng == nullptr ? left : std::min<size_t>(left, 1 + prng->below(9));
    size_t consumed = 0;
    to.state = to.parser.feed(text.substr(to.consumed, piece), consumed);
    ASSERT(consumed <= piece && (to.state != State::NEED_MORE || consumed == piece));
    to.consumed += consumed;
  }
}

bool clean(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  Prng prng(data[0]);
  Fed whole;
  Fed pieces;
  feed(whole, text, nullptr);
  feed(pieces, text, &prng);
  ASSERT(whole.state == pieces.state);
  if (whole.state == State::BAD) ASSERT(whole.parser.error() == pieces.parser.error());
  if (whole.state != State::COMPLETE) return 0;
  ASSERT(whole.consumed == pieces.consumed && whole.consumed <= CgiHeadParser::BYTES_MAX);
  const CgiHead& head = whole.parser.head();
  ASSERT(head.status >= 200 && head.status <= 599 && head.status == pieces.parser.head().status);
  ASSERT(head.fields == pieces.parser.head().fields && head.local_redirect == pieces.parser.head().local_redirect);
  ASSERT(head.content_length == pieces.parser.head().content_length && clean(head.local_redirect));
  ASSERT(head.local_redirect.empty() || head.local_redirect.front() == '/');
  for (const auto& [name, value] : head.fields) ASSERT(!name.empty() && clean(name) && clean(value));
  return 0;
}
