// Escaping: whatever bytes a client sent become part of one line of a log, in that log's grammar.
//
// Common to all: control characters, bytes that are not UTF-8, and the characters that some reader takes
// for a line break or that turn the direction of text (U+0080-U+009F, U+2028, U+2029, U+202A-U+202E,
// U+2066-U+2069) never come out as themselves. Valid UTF-8 otherwise passes unchanged. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

enum class Escape : uint8_t {
  W3C,   // space becomes '+' (as IIS writes it), the forbidden %XX
  NCSA,  // '"' and '\' get a '\', the forbidden become \xhh (as Apache writes them)
  JSON,  // RFC 8259: '"', '\' and controls by '\'; a byte that is not UTF-8 becomes %XX
};

inline constexpr size_t ESCAPE_GROWTH_MAX = 6;  // bytes out per byte in, at most

// Writes `text` escaped at `out` and returns its length. REQUIRES: room for ESCAPE_GROWTH_MAX * text.size().
[[nodiscard]] size_t escape_text(Escape escape, std::string_view text, char* out);

}  // namespace penstock
