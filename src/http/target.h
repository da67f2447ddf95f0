// canonicalise: the raw path of a request to the one path everything after it uses. http.sys rules.
//
// A path is decoded exactly once, here, and never again: routes, files, logs and caches behind this
// see the canonical form only. Pure; any thread; no allocation.
//
// Canonical form: UTF-8; begins with '/'; no empty, "." or ".." segment (a last empty segment stays,
// as the trailing slash of a directory); no NUL, no backslash; no control character (U+0001-1F,
// U+007F-9F) unless rules.restricted_chars; nothing that reads as an escape ("%41") unless
// rules.double_escape. It is not escaped: "%20" has become a space, "%25" a '%'.
//
// Idempotent in this sense: canonicalise(escape_path(c)) == c for every canonical c, and
// canonicalise(c) == c where c has no '%'.
#pragma once

#include "src/http/status.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

// The upper half of a single-byte character set: element n is the code point of byte 0x80 + n, or 0
// where the byte means nothing.
using LegacyCharset = std::array<char16_t, 128>;
extern const LegacyCharset ISO_8859_1;
extern const LegacyCharset WINDOWS_1252;

// The decode.* and limits.* keys that concern paths.
struct DecodeRules {
  bool non_utf8 = false;          // a path that is not UTF-8 is read in `legacy`; else UTF8_INVALID
  bool percent_u = false;         // %uNNNN is read, as UTF-16 code units; else PERCENT_U_REFUSED
  bool restricted_chars = false;  // escapes of U+0001-1F, U+007F-9F are let through; U+0000 never is
  bool double_escape = false;     // a decoded path may still hold "%41"; else DOUBLE_ESCAPE
  uint32_t segment_bytes = 260;   // longest segment, decoded; 0: no limit    → SEGMENT_LENGTH
  uint32_t segments = 255;        // most segments, after resolution; 0: none → SEGMENT_COUNT
  const LegacyCharset* legacy = &WINDOWS_1252;
};

struct CanonicalPath {
  Reason reason;          // NONE, or why the path is refused
  std::string_view path;  // if NONE: within `out`
};

// The most that canonicalise() writes for a raw path of that size (a legacy byte becomes at most 3).
constexpr size_t canonical_bytes_max(size_t raw_bytes, const DecodeRules& rules) {
  return rules.non_utf8 ? raw_bytes * 3 : raw_bytes;
}

// `raw_path`: RequestHead::path, without query. `out` must not overlap it; URL_LENGTH if it is too
// small, which cannot be with canonical_bytes_max() bytes. Escaped slashes and backslashes, in any
// spelling, are refused rather than decoded; so is a path that climbs above the root at any point.
[[nodiscard]] CanonicalPath canonicalise(std::string_view raw_path, const DecodeRules& rules, std::span<char> out);

// Whether a raw path is its own canonical form already, by a look at its bytes: if so, canonicalise() would copy it
// unchanged (segment limits aside). ASCII only; may say no where the answer is yes.
[[nodiscard]] bool is_canonical_ascii(std::string_view raw_path);

// A canonical path as a raw one: every byte but unreserved, sub-delims, ':', '@' and '/' is escaped.
// For Location, listings and the like. Empty if `out` (3 bytes for each of path at most) is too small.
[[nodiscard]] std::string_view escape_path(std::string_view path, std::span<char> out);

}  // namespace penstock
