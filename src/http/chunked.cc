// A byte-wise state machine for size lines and trailers, which are short; data passes in whole spans.
//
//   chunk-size [chunk-ext] CRLF, data CRLF, ... , "0" [chunk-ext] CRLF, trailer lines, CRLF
//   chunk-ext = *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )

#include "src/http/chunked.h"

#include "src/base/bytes.h"
#include "src/http/syntax.h"

#include <algorithm>
#include <limits>

namespace penstock {

enum class ChunkDecoder::Stage : uint8_t {
  SIZE_FIRST,      // the first digit of a size
  SIZE,            // further digits, or what ends the size
  EXT_SPACE,       // white space: only ';' may follow
  EXT_NAME_FIRST,  // after ';': white space or the first byte of a name
  EXT_NAME,
  EXT_NAME_SPACE,   // white space after a name: '=' or ';' must follow
  EXT_VALUE_FIRST,  // after '=': white space, a token or a quoted string
  EXT_TOKEN,
  EXT_QUOTED,
  EXT_QUOTED_PAIR,
  EXT_QUOTED_END,
  LINE_LF,  // CR of a size line was seen
  DATA,
  DATA_CR,
  DATA_LF,
  TRAILER_START,  // at the beginning of a trailer line
  TRAILER_NAME,
  TRAILER_VALUE,
  TRAILER_LF,  // CR of a trailer line was seen
  END_LF,      // CR of the empty line was seen
  DONE,
  BAD
};

namespace {

constexpr uint64_t BODY_BYTES_MAX = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());

constexpr bool is_space(char c) { return c == ' ' || c == '\t'; }

}  // namespace

ChunkStep ChunkDecoder::bad(Reason reason, size_t consumed) {
  stage_ = Stage::BAD;
  error_ = reason;
  return {ChunkState::BAD, consumed, {}};
}

// One byte of an extension; which begins with the byte after the size.
Reason ChunkDecoder::extension_byte(char c) {
  const bool line_end = c == '\r';
  switch (stage_) {
    case Stage::EXT_QUOTED:
      if (c == '"') stage_ = Stage::EXT_QUOTED_END;
      if (c == '\\') stage_ = Stage::EXT_QUOTED_PAIR;
      return is_syntax(c, SYNTAX_VALUE) ? Reason::NONE : Reason::CHUNK_EXTENSION_INVALID;
    case Stage::EXT_QUOTED_PAIR:
      stage_ = Stage::EXT_QUOTED;
      return is_syntax(c, SYNTAX_VALUE) ? Reason::NONE : Reason::CHUNK_EXTENSION_INVALID;
    case Stage::EXT_NAME_FIRST:
    case Stage::EXT_VALUE_FIRST:
      if (is_space(c)) return Reason::NONE;
      if (is_syntax(c, SYNTAX_TOKEN)) {
        stage_ = stage_ == Stage::EXT_NAME_FIRST ? Stage::EXT_NAME : Stage::EXT_TOKEN;
        return Reason::NONE;
      }
      if (c != '"' || stage_ == Stage::EXT_NAME_FIRST) return Reason::CHUNK_EXTENSION_INVALID;
      stage_ = Stage::EXT_QUOTED;
      return Reason::NONE;
    case Stage::EXT_NAME:
    case Stage::EXT_TOKEN:
      if (is_syntax(c, SYNTAX_TOKEN)) return Reason::NONE;
      break;
    default:
      break;
  }
  // Between parts: what may come next is white space, '=', ';' or the end of the line.
  const bool after_name = stage_ == Stage::EXT_NAME || stage_ == Stage::EXT_NAME_SPACE;
  if (is_space(c)) {
    stage_ = after_name ? Stage::EXT_NAME_SPACE : Stage::EXT_SPACE;
  } else if (c == ';') {
    stage_ = Stage::EXT_NAME_FIRST;
  } else if (c == '=' && after_name) {
    stage_ = Stage::EXT_VALUE_FIRST;
  } else if (line_end && stage_ != Stage::EXT_SPACE && stage_ != Stage::EXT_NAME_SPACE) {
    stage_ = Stage::LINE_LF;
  } else {
    return Reason::CHUNK_EXTENSION_INVALID;
  }
  return Reason::NONE;
}

Reason ChunkDecoder::line_byte(char c) {
  if (++count_ > limits_.line_bytes) return Reason::CHUNK_LINE_LENGTH;
  if (stage_ == Stage::LINE_LF) {
    if (c != '\n') return Reason::CHUNK_LINE_END_INVALID;
    count_ = 0;
    stage_ = remaining_ != 0 ? Stage::DATA : Stage::TRAILER_START;
    return Reason::NONE;
  }
  if (c == '\n') return Reason::CHUNK_LINE_END_INVALID;
  if (stage_ == Stage::SIZE_FIRST || stage_ == Stage::SIZE) {
    const int digit = hex_digit(c);
    if (digit >= 0) {
      if (remaining_ > (BODY_BYTES_MAX - body_bytes_) >> 4) return Reason::CHUNK_SIZE_OVERFLOW;
      remaining_ = remaining_ << 4 | static_cast<unsigned>(digit);
      if (remaining_ > BODY_BYTES_MAX - body_bytes_) return Reason::CHUNK_SIZE_OVERFLOW;
      stage_ = Stage::SIZE;
      return Reason::NONE;
    }
    if (stage_ == Stage::SIZE_FIRST || (c != ';' && c != '\r' && !is_space(c))) return Reason::CHUNK_SIZE_INVALID;
  }
  return extension_byte(c);
}

// Trailer fields by the grammar of field lines; obs-fold is none, since a line may not begin with a space.
Reason ChunkDecoder::trailer_byte(char c) {
  if (++count_ > limits_.trailer_bytes) return Reason::TRAILER_LENGTH;
  switch (stage_) {
    case Stage::TRAILER_START:
      if (c == '\r') {
        stage_ = Stage::END_LF;
        return Reason::NONE;
      }
      stage_ = Stage::TRAILER_NAME;
      return is_syntax(c, SYNTAX_TOKEN) ? Reason::NONE : Reason::TRAILER_INVALID;
    case Stage::TRAILER_NAME:
      if (c == ':') {
        stage_ = Stage::TRAILER_VALUE;
        return Reason::NONE;
      }
      return is_syntax(c, SYNTAX_TOKEN) ? Reason::NONE : Reason::TRAILER_INVALID;
    case Stage::TRAILER_VALUE:
      if (c == '\r') {
        stage_ = Stage::TRAILER_LF;
        return Reason::NONE;
      }
      return is_syntax(c, SYNTAX_VALUE) ? Reason::NONE : Reason::TRAILER_INVALID;
    default:  // TRAILER_LF, END_LF
      if (c != '\n') return Reason::TRAILER_INVALID;
      stage_ = stage_ == Stage::END_LF ? Stage::DONE : Stage::TRAILER_START;
      return Reason::NONE;
  }
}

Reason ChunkDecoder::framing_byte(char c) {
  if (stage_ < Stage::DATA) return line_byte(c);
  if (stage_ >= Stage::TRAILER_START) return trailer_byte(c);
  const bool cr = stage_ == Stage::DATA_CR;
  if (c != (cr ? '\r' : '\n')) return Reason::CHUNK_END_INVALID;
  stage_ = cr ? Stage::DATA_LF : Stage::SIZE_FIRST;
  return Reason::NONE;
}

ChunkStep ChunkDecoder::next(std::string_view bytes) {
  if (stage_ == Stage::BAD) return {ChunkState::BAD, 0, {}};
  size_t at = 0;
  while (stage_ != Stage::DONE && at < bytes.size()) {
    if (stage_ == Stage::DATA) {
      const auto size = static_cast<size_t>(std::min<uint64_t>(bytes.size() - at, remaining_));
      remaining_ -= size;
      body_bytes_ += size;
      if (remaining_ == 0) stage_ = Stage::DATA_CR;
      return {ChunkState::DATA, at + size, bytes.substr(at, size)};
    }
    const Reason reason = framing_byte(bytes[at]);
    if (reason != Reason::NONE) return bad(reason, at);
    ++at;
  }
  return {stage_ == Stage::DONE ? ChunkState::DONE : ChunkState::NEED_MORE, at, {}};
}

}  // namespace penstock
