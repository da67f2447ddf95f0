// A head that comes whole is scanned once, and the RequestHead is filled on the way (STORE). One that comes in pieces
// is scanned with STORE off, each byte once; when it is decided, it is scanned a last time with STORE on. So nothing
// but a position is kept for a connection, and no view can dangle between calls.

#include "src/http/request_parser.h"

#include "src/http/head_scanner.h"
#include "src/http/request_rules.h"

#include <algorithm>

namespace penstock {
namespace {

// The bytes of which an element of each stage may have many.
constexpr uint8_t STAGE_CLASSES[] = {0, SYNTAX_TOKEN, SYNTAX_PATH, SYNTAX_QUERY, 0, 0, SYNTAX_TOKEN, SYNTAX_VALUE};

// The position up to which the element that the scanner stands in may grow.
template <typename Scanner>
uint32_t element_limit(const Scanner& scanner) {
  using enum HeadStage;
  const ParseLimits& limits = scanner.limits;
  const char* start = scanner.stage == PATH || scanner.stage == QUERY ? scanner.token : scanner.line;
  uint64_t bytes = limits.field_bytes;
  if (scanner.stage == METHOD) bytes = limits.verb_bytes;
  if (scanner.stage == PATH) bytes = limits.url_bytes;
  if (scanner.stage == QUERY) bytes = limits.query_bytes;
  return static_cast<uint32_t>(std::min<uint64_t>(bytes + static_cast<uint64_t>(start - scanner.begin), UINT32_MAX));
}

// All but what only `present` and `field_count` make valid: a head that is refused half-way must say nothing of the
// one before it.
void clear(RequestHead& out) {
  out.method = Method::OTHER;
  out.version_minor = 1;
  out.body = BodyKind::NONE;
  out.plain = out.has_conditional = out.has_range = out.keep_alive = out.expect_continue = false;
  out.has_query = false;
  out.method_text = out.target = out.path = out.query = out.authority = out.host_header = {};
  out.present = out.repeated = 0;
  out.field_count = 0;
}

}  // namespace

template <typename Scan, bool STORE>
ParseState RequestParser::run(std::string_view bytes, const ParseLimits& limits, RequestHead& out) {
  const size_t view = std::min<size_t>(bytes.size(), limits.head_bytes);
  const char* begin = bytes.data();
  HeadScanner<Scan, STORE> scanner{.begin = begin,
                                   .at = begin + position_,
                                   .token = token_start_ == 0 ? nullptr : begin + token_start_,
                                   .line = begin + line_start_,
                                   .end = begin + view,
                                   .limits = limits,
                                   .out = out,
                                   .empty_lines = empty_lines_,
                                   .field_lines = field_lines_,
                                   .field_lines_max = std::min<uint32_t>(limits.fields, FIELDS_MAX),
                                   .stage = static_cast<HeadStage>(stage_)};
  if constexpr (STORE) clear(out);
  const HeadStep step = scanner.scan();
  if constexpr (STORE) out.field_count = static_cast<uint16_t>(scanner.field_lines);
  if (step == HeadStep::END) {
    position_ = static_cast<uint32_t>(scanner.at - begin);
    if constexpr (STORE) {
      error_ = complete_request_head(out);
      if (error_ != Reason::NONE) return ParseState::BAD;
    }
    return ParseState::COMPLETE;
  }
  if (step == HeadStep::NEED_MORE && bytes.size() <= limits.head_bytes) {
    position_ = static_cast<uint32_t>(scanner.at - begin);
    // A token cannot begin at 0: a method of one byte at least stands before it.
    token_start_ = scanner.token == nullptr ? 0 : static_cast<uint32_t>(scanner.token - begin);
    line_start_ = static_cast<uint32_t>(scanner.line - begin);
    empty_lines_ = static_cast<uint8_t>(scanner.empty_lines);
    field_lines_ = static_cast<uint16_t>(scanner.field_lines);
    stage_ = static_cast<uint8_t>(scanner.stage);
    calm_class_ = STAGE_CLASSES[stage_];
    calm_until_ = std::min(limits.head_bytes, element_limit(scanner));
    return ParseState::NEED_MORE;
  }
  error_ = step == HeadStep::BAD ? scanner.error : Reason::HEAD_LENGTH;
  return ParseState::BAD;
}

template <typename Scan>
ParseState RequestParser::resume(std::string_view bytes, const ParseLimits& limits, RequestHead& out) {
  if (position_ == 0) [[likely]]
    return run<Scan, true>(bytes, limits, out);
  const ParseState state = run<Scan, false>(bytes, limits, out);
  if (state == ParseState::NEED_MORE) return state;
  reset();
  return run<Scan, true>(bytes, limits, out);
}

ParseState RequestParser::parse_fast(std::string_view bytes, const ParseLimits& limits, RequestHead& out) {
  return resume<ScanFast>(bytes, limits, out);
}

ParseState RequestParser::parse_scalar(std::string_view bytes, const ParseLimits& limits, RequestHead& out) {
  return resume<ScanPlain>(bytes, limits, out);
}

}  // namespace penstock
