// Whatever the bytes: a chunked body comes out the same however it is cut, and to its last byte.

#include "src/base/assert.h"
#include "src/base/prng.h"
#include "src/http/chunked.h"

#include <algorithm>
#include <string>

namespace penstock {
namespace {

struct Body {
  ChunkState state = ChunkState::NEED_MORE;
  Reason error = Reason::NONE;
  std::string data;
  size_t consumed = 0;
};

Body decode(std::string_view text, const ChunkLimits& limits, Prng* prng) {
  ChunkDecoder decoder(limits);
  Body body;
  do {
    const size_t left = text.size() - body.consumed;
    const size_t piece = prng == nullptr ? left : std::min<size_t>(left, 1 + prng->below(9));
    const ChunkStep step = decoder.next(text.substr(body.consumed, piece));
    ASSERT(step.consumed <= piece && step.data.size() <= step.consumed);
    ASSERT(step.data.empty() == (step.state != ChunkState::DATA));
    ASSERT(step.state != ChunkState::NEED_MORE || step.consumed == piece);
    body.state = step.state;
    body.data += step.data;
    body.consumed += step.consumed;
  } while (body.state == ChunkState::DATA || (body.state == ChunkState::NEED_MORE && body.consumed < text.size()));
  ASSERT(decoder.body_bytes() == body.data.size());
  if (body.state == ChunkState::BAD) body.error = decoder.error();
  return body;
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const ChunkLimits limits = (data[0] & 1) != 0 ? ChunkLimits{} : ChunkLimits{.line_bytes = 20, .trailer_bytes = 30};
  Prng prng(data[1]);
  const Body whole = decode(text, limits, nullptr);
  const Body pieces = decode(text, limits, &prng);
  ASSERT(whole.state == pieces.state && whole.error == pieces.error);
  ASSERT(whole.data == pieces.data && whole.consumed == pieces.consumed);
  ASSERT((whole.state == ChunkState::BAD) == (reason_status(whole.error) >= 400));
  if (whole.state == ChunkState::DONE) ASSERT(text.substr(0, whole.consumed).ends_with("\r\n\r\n"));
  return 0;
}
