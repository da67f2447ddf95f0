// RequestParser: bytes of a connection to a RequestHead, strictly after RFC 9112.
//
// Owned by a connection (24 bytes), used by its reactor thread. Pure: no socket, no clock, no
// allocation, no memory of its own beyond a position. Three answers: complete, need more, bad.
//
// Incremental: the caller appends bytes and calls again from the same start. What was looked at is
// not looked at again until the head is complete (then once more, to fill the RequestHead), so that
// a head that dribbles in byte by byte costs no more than a few times one that comes whole. The
// answer, the error and the RequestHead do not depend on where the bytes were split, and the buffer
// may move between calls.
//
// Strict: what two readers could understand differently is refused, each cause with its own Reason
// (status.def). After BAD the connection must be closed; its framing is lost.
#pragma once

#include "src/http/request_head.h"
#include "src/http/status.h"
#include "src/http/syntax.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

// Each limit is the largest value accepted; one more is refused. Set from the limits.* keys.
struct ParseLimits {
  uint32_t head_bytes = 16384;   // everything up to and with the empty line      → HEAD_LENGTH
  uint32_t field_bytes = 16384;  // one field line: name, colon, value, no CRLF   → FIELD_LENGTH
  uint32_t url_bytes = 4096;     // the target up to '?'                          → URL_LENGTH
  uint32_t query_bytes = 2048;   // the target after '?'                          → QUERY_LENGTH
  uint32_t fields = 100;         // field lines; never more than FIELDS_MAX       → FIELD_COUNT
  uint32_t verb_bytes = 32;      // the method                                    → METHOD_LENGTH
};

// Empty lines (CRLF) that may stand before a request line (RFC 9112 section 2.2).
inline constexpr uint32_t LEADING_EMPTY_LINES_MAX = 4;

enum class ParseState : uint8_t { COMPLETE, NEED_MORE, BAD };

class RequestParser {
 public:
  // `bytes` begins where the request begins and holds all that has come since: at each call the same
  // bytes as before (at any address), with more behind them. Bytes of the next request may follow.
  //
  // COMPLETE   `out` is filled; consumed() bytes belonged to this head. Call reset() before the next.
  // NEED_MORE  the head is not complete; `out` is scratch. To be told HEAD_LENGTH the caller offers
  //            up to head_bytes + 1 bytes; a caller with less room takes a full buffer for it.
  // BAD        error() says why. In `out` method_text, target, path, query and fields() hold what had been
  //            read before the offence (else they are empty), for the log; nothing else is to be relied on.
  //
  // `limits` may change between requests, not within one.
  [[nodiscard]] ParseState parse(std::string_view bytes, const ParseLimits& limits, RequestHead& out) {
    return dribble(bytes) ? ParseState::NEED_MORE : parse_fast(bytes, limits, out);
  }

  // The same answers without SIMD: what the differential fuzzer holds parse() to.
  [[nodiscard]] ParseState parse_plain(std::string_view bytes, const ParseLimits& limits, RequestHead& out) {
    return dribble(bytes) ? ParseState::NEED_MORE : parse_scalar(bytes, limits, out);
  }

  // Bytes of the head, with empty lines before it. REQUIRES: the last answer was COMPLETE.
  [[nodiscard]] size_t consumed() const { return position_; }
  // REQUIRES: the last answer was BAD.
  [[nodiscard]] Reason error() const { return error_; }
  // Whether the head has begun: something beyond empty lines was seen. Tells the idle timer from the header wait timer.
  [[nodiscard]] bool started() const { return stage_ != 0; }
  // Ready for the next request.
  void reset() { *this = RequestParser{}; }

 private:
  template <typename Scan>
  ParseState resume(std::string_view bytes, const ParseLimits& limits, RequestHead& out);

  // A few bytes that only lengthen the element they come in need no scanner set up for them: this makes a head that
  // dribbles in cheap. True if all that is new in `bytes` was that.
  bool dribble(std::string_view bytes) {
    if (bytes.size() != size_t{position_} + 1) [[unlikely]]
      return calm_class_ != 0 && dribble_some(bytes);
    // One byte: none of this waits for what the last call has stored.
    if (bytes.size() > calm_until_ || !is_syntax(bytes.back(), calm_class_)) return false;
    position_ = static_cast<uint32_t>(bytes.size());
    return true;
  }

  [[gnu::noinline]] bool dribble_some(std::string_view bytes) {
    constexpr size_t DRIBBLE_BYTES_MAX = 16;
    if (bytes.size() > calm_until_ || bytes.size() - position_ > DRIBBLE_BYTES_MAX) return false;
    while (position_ < bytes.size() && is_syntax(bytes[position_], calm_class_)) ++position_;
    return position_ == bytes.size();
  }

  ParseState parse_fast(std::string_view bytes, const ParseLimits& limits, RequestHead& out);
  ParseState parse_scalar(std::string_view bytes, const ParseLimits& limits, RequestHead& out);
  template <typename Scan, bool STORE>
  ParseState run(std::string_view bytes, const ParseLimits& limits, RequestHead& out);

  uint32_t position_ = 0;     // next byte to look at
  uint32_t token_start_ = 0;  // where the element that holds position_ begins
  uint32_t line_start_ = 0;   // where its line begins
  uint32_t calm_until_ = 0;   // no limit is reached by further bytes of the same element before this position
  uint16_t field_lines_ = 0;
  uint8_t stage_ = 0;
  uint8_t empty_lines_ = 0;
  uint8_t calm_class_ = 0;  // the bytes of that element (syntax.h); 0, which holds none: it is not one of many bytes
  Reason error_ = Reason::NONE;
};
static_assert(sizeof(RequestParser) == 24);

}  // namespace penstock
