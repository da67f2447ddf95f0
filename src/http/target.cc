// Four passes, each over its predecessor's result in `out`, so that each rule is one short function and none can be
// dodged by spelling: (1) escapes are decoded, once; what an escape may not name is refused here; (2) the bytes are
// checked to be UTF-8, or read in the legacy set; (3) what still reads as an escape is refused; (4) "." and ".." are
// resolved and "//" merged. In a path without any of that, pass 1 is a copy and pass 4 a walk over the slashes.

#include "src/http/target.h"

#include "src/base/bytes.h"
#include "src/http/syntax.h"
#include "src/http/utf8.h"

#include <cstring>

namespace penstock {
namespace {

struct Decoded {
  Reason reason = Reason::NONE;
  size_t size = 0;
  bool non_ascii = false;    // some byte is 0x80 or above
  bool utf16_named = false;  // some of these came of %uNNNN, so they are UTF-8 by birth
  bool percent = false;      // a '%' stands in the result
};

constexpr bool is_restricted(uint32_t code_point) {
  return code_point < 0x20 || (code_point >= 0x7f && code_point <= 0x9f);
}

// What a decoded code point may not be, however it was spelt.
Reason check_named(uint32_t code_point, const DecodeRules& rules) {
  if (code_point == 0) return Reason::NUL_IN_PATH;
  if (code_point == '/') return Reason::ENCODED_SLASH;
  if (code_point == '\\') return Reason::BACKSLASH;
  if (is_restricted(code_point) && !rules.restricted_chars) return Reason::RESTRICTED_CHARACTER;
  return Reason::NONE;
}

// The value of `digits` hexadecimal digits at text[at], or -1.
int32_t hex_number(std::string_view text, size_t at, size_t digits) {
  if (text.size() - at < digits) return -1;
  int32_t value = 0;
  for (size_t i = 0; i < digits; ++i) {
    const int digit = hex_digit(text[at + i]);
    if (digit < 0) return -1;
    value = value << 4 | digit;
  }
  return value;
}

bool is_utf16_escape(std::string_view text, size_t at) {
  return text.size() - at >= 2 && text[at] == '%' && (text[at + 1] == 'u' || text[at + 1] == 'U');
}

// The escape %uNNNN at raw[at], or a surrogate pair of two. Moves `at` behind it.
Reason decode_utf16(std::string_view raw, size_t& at, uint32_t& code_point) {
  const int32_t unit = hex_number(raw, at + 2, 4);
  if (unit < 0) return Reason::PERCENT_U_INVALID;
  at += 6;
  code_point = static_cast<uint32_t>(unit);
  if (unit < 0xd800 || unit > 0xdfff) return Reason::NONE;
  if (unit >= 0xdc00 || !is_utf16_escape(raw, at)) return Reason::SURROGATE_INVALID;
  const int32_t low = hex_number(raw, at + 2, 4);
  if (low < 0) return Reason::PERCENT_U_INVALID;
  if (low < 0xdc00 || low > 0xdfff) return Reason::SURROGATE_INVALID;
  at += 6;
  code_point = 0x10000 + ((code_point & 0x3ff) << 10) + (static_cast<uint32_t>(low) & 0x3ff);
  return Reason::NONE;
}

// One escape of either kind at raw[at]. Moves `at` behind it and `into.size` behind what it wrote. An escape is never
// shorter than what it stands for, so the room for the raw path is room enough.
Reason decode_escape(std::string_view raw, size_t& at, const DecodeRules& rules, char* out, Decoded& into) {
  if (is_utf16_escape(raw, at)) {
    if (!rules.percent_u) return Reason::PERCENT_U_REFUSED;
    uint32_t code_point = 0;
    Reason reason = decode_utf16(raw, at, code_point);
    if (reason == Reason::NONE) reason = check_named(code_point, rules);
    if (reason != Reason::NONE) return reason;
    if (code_point >= 0x80) into.utf16_named = into.non_ascii = true;
    if (code_point == '%') into.percent = true;
    into.size += write_utf8(out + into.size, code_point);
    return Reason::NONE;
  }
  const int32_t byte = hex_number(raw, at + 1, 2);
  if (byte < 0) return Reason::PERCENT_INVALID;
  at += 3;
  if (byte < 0x80) {
    const Reason reason = check_named(static_cast<uint32_t>(byte), rules);
    if (reason != Reason::NONE) return reason;
    if (byte == '%') into.percent = true;
  } else {
    into.non_ascii = true;  // part of a longer form; looked at when all of it is there
  }
  out[into.size++] = static_cast<char>(byte);
  return Reason::NONE;
}

// Pass 1. REQUIRES: `out` has room for raw.size() bytes.
Decoded decode(std::string_view raw, const DecodeRules& rules, char* out) {
  Decoded into;
  for (size_t at = 0; at < raw.size() && into.reason == Reason::NONE;) {
    while (at < raw.size() && is_syntax(raw[at], SYNTAX_VERBATIM)) out[into.size++] = raw[at++];
    if (at == raw.size()) break;
    const auto c = static_cast<unsigned char>(raw[at]);
    if (c == '%') {
      into.reason = decode_escape(raw, at, rules, out, into);
      continue;
    }
    if (c == 0) into.reason = Reason::NUL_IN_PATH;
    if (c == '\\') into.reason = Reason::BACKSLASH;
    // Raw ones are refused whatever restricted_chars says: it speaks of escapes.
    if (c != 0 && (c < 0x20 || c == 0x7f)) into.reason = Reason::RESTRICTED_CHARACTER;
    if (c >= 0x80) into.non_ascii = true;
    out[into.size++] = static_cast<char>(c);
    ++at;
  }
  return into;
}

// Turns out[0, size) from the legacy set into UTF-8, from its end backwards, in place.
Reason transcode(const LegacyCharset& charset, std::span<char> out, size_t& size) {
  size_t grown = 0;
  for (size_t i = 0; i < size; ++i) {
    const auto c = static_cast<unsigned char>(out[i]);
    const uint32_t code_point = c < 0x80 ? c : charset[c - 0x80U];
    if (c >= 0x80 && code_point == 0) return Reason::UTF8_INVALID;
    grown += utf8_size(code_point);
  }
  if (grown > out.size()) return Reason::URL_LENGTH;
  size_t end = grown;
  for (size_t i = size; i-- > 0;) {
    const auto c = static_cast<unsigned char>(out[i]);
    const uint32_t code_point = c < 0x80 ? c : charset[c - 0x80U];
    end -= utf8_size(code_point);
    write_utf8(out.data() + end, code_point);
  }
  size = grown;
  return Reason::NONE;
}

// Pass 2, for paths with bytes above 0x7F.
Reason check_charset(const Decoded& decoded, const DecodeRules& rules, std::span<char> out, size_t& size) {
  switch (check_utf8({out.data(), size})) {
    case Utf8Check::VALID:
      break;
    // Refused in the legacy sets too: no sane name looks so, and every attack of this kind does.
    case Utf8Check::OVERLONG:
      return Reason::UTF8_OVERLONG;
    case Utf8Check::INVALID:
      if (!rules.non_utf8 || decoded.utf16_named) return Reason::UTF8_INVALID;
      const Reason reason = transcode(*rules.legacy, out, size);
      if (reason != Reason::NONE) return reason;
      break;
  }
  if (rules.restricted_chars) return Reason::NONE;
  for (size_t i = 0; i + 1 < size; ++i) {  // U+0080-9F are C2 80 to C2 9F
    if (static_cast<unsigned char>(out[i]) == 0xc2 && static_cast<unsigned char>(out[i + 1]) <= 0x9f) {
      return Reason::RESTRICTED_CHARACTER;
    }
  }
  return Reason::NONE;
}

// Pass 3: whether some later decoder could read an escape here.
bool holds_escape(std::string_view path) {
  for (size_t at = path.find('%'); at != std::string_view::npos; at = path.find('%', at + 1)) {
    if (hex_number(path, at + 1, 2) >= 0) return true;
    if (is_utf16_escape(path, at) && hex_number(path, at + 2, 4) >= 0) return true;
  }
  return false;
}

// Pass 4, in place: the result is never longer than what was read, so writing stays behind reading.
// Segments end at '/'; what is written always ends in '/' but for the last segment.
Reason resolve(const DecodeRules& rules, char* path, size_t& size) {
  size_t written = 1;  // the leading slash
  size_t segments = 0;
  for (size_t at = 1; at < size;) {
    const auto* slash = static_cast<const char*>(std::memchr(path + at, '/', size - at));
    const bool last = slash == nullptr;
    const size_t segment_bytes = last ? size - at : static_cast<size_t>(slash - (path + at));
    const std::string_view segment(path + at, segment_bytes);
    const size_t next = at + segment_bytes + (last ? 0 : 1);
    if (segment == "..") {
      if (segments == 0) return Reason::ABOVE_ROOT;
      --segments;
      --written;
      while (path[written - 1] != '/') --written;
    } else if (!segment.empty() && segment != ".") {
      if (rules.segment_bytes != 0 && segment_bytes > rules.segment_bytes) return Reason::SEGMENT_LENGTH;
      if (written != at) std::memmove(path + written, path + at, next - at);
      written += next - at;
      ++segments;
    }
    at = next;
  }
  if (rules.segments != 0 && segments > rules.segments) return Reason::SEGMENT_COUNT;
  size = written;
  return Reason::NONE;
}

}  // namespace

CanonicalPath canonicalise(std::string_view raw_path, const DecodeRules& rules, std::span<char> out) {
  if (!raw_path.starts_with('/')) return {Reason::PATH_NOT_ABSOLUTE, {}};
  if (out.size() < raw_path.size()) return {Reason::URL_LENGTH, {}};
  const Decoded decoded = decode(raw_path, rules, out.data());
  if (decoded.reason != Reason::NONE) return {decoded.reason, {}};
  size_t size = decoded.size;
  if (decoded.non_ascii) {
    const Reason reason = check_charset(decoded, rules, out, size);
    if (reason != Reason::NONE) return {reason, {}};
  }
  if (decoded.percent && !rules.double_escape && holds_escape({out.data(), size})) {
    return {Reason::DOUBLE_ESCAPE, {}};
  }
  const Reason reason = resolve(rules, out.data(), size);
  if (reason != Reason::NONE) return {reason, {}};
  return {Reason::NONE, {out.data(), size}};
}

bool is_canonical_ascii(std::string_view raw_path) {
  if (!raw_path.starts_with('/')) return false;
  char before = 'x';
  for (const char c : raw_path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || c == '%' || c == '\\') return false;
    if (before == '/' && (c == '/' || c == '.')) return false;
    before = c;
  }
  return true;
}

std::string_view escape_path(std::string_view path, std::span<char> out) {
  size_t size = 0;
  for (const char c : path) {
    if (is_syntax(c, SYNTAX_UNESCAPED)) {
      if (size == out.size()) return {};
      out[size++] = c;
    } else {
      if (out.size() - size < 3) return {};
      const auto byte = static_cast<unsigned char>(c);
      out[size++] = '%';
      out[size++] = "0123456789ABCDEF"[byte >> 4];
      out[size++] = "0123456789ABCDEF"[byte & 0xf];
    }
  }
  return {out.data(), size};
}

}  // namespace penstock
