// Any fields: what becomes of them is refused, or is exactly one HTTP/1.1 head with the fields that were given.
#include "src/base/assert.h"
#include "src/http/h2/request_head.h"
#include "src/http/request_parser.h"

#include <memory>

using namespace penstock;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t options = data[0];
  std::string_view rest{reinterpret_cast<const char*>(data) + 1, size - 1};
  // Length, name; length, value. A head begins with good pseudo-header fields, where the options say so.
  const auto next = [&rest] {
    const size_t length = rest.empty() ? 0 : std::min<size_t>(static_cast<unsigned char>(rest[0]), rest.size() - 1);
    const std::string_view text = rest.empty() ? rest : rest.substr(1, length);
    rest.remove_prefix(rest.empty() ? 0 : 1 + length);
    return text;
  };
  const bool trailers = (options & 1) != 0;
  const bool end_stream = (options & 2) != 0;
  H2RequestHead head;
  head.begin(trailers ? H2RequestHead::Section::TRAILERS : H2RequestHead::Section::HEAD, 1024);
  if (!trailers && (options & 4) != 0) {
    head.field(":method", "GET");
    head.field(":scheme", "http");
    head.field(":path", "/");
    head.field(":authority", "h");
  }
  while (!rest.empty()) {
    const std::string_view name = next();
    head.field(name, next());
  }
  if (head.finish(end_stream) != Reason::NONE) return 0;
  const std::string_view text = head.text();
  ASSERT(text.size() <= 1025 && head.cut_off() == (text.size() == 1025));
  if (trailers || head.cut_off()) return 0;
  const auto out = std::make_unique<RequestHead>();
  RequestParser parser;
  const ParseState state = parser.parse(text, {}, *out);
  ASSERT(state != ParseState::NEED_MORE);  // what ends the text ends the head
  if (state == ParseState::BAD) return 0;
  ASSERT(parser.consumed() == text.size());
  ASSERT((out->body == BodyKind::CHUNKED) == (!end_stream && !head.content_length()));
  ASSERT(out->body != BodyKind::LENGTH || out->content_length == *head.content_length());
  ASSERT(out->keep_alive && out->version_minor == 1);
  return 0;
}
