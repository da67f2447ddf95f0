#include "src/log/drain/escape.h"

#include <array>
#include <cstring>

namespace penstock {
namespace {

constexpr char UPPER_HEX[] = "0123456789ABCDEF";
constexpr char LOWER_HEX[] = "0123456789abcdef";

// Bytes that pass as they are, by kind of escaping. UTF-8 is looked at apart.
constexpr std::array<std::array<bool, 256>, 3> make_plain() {
  std::array<std::array<bool, 256>, 3> plain{};
  for (size_t c = 0x20; c < 0x7f; ++c) plain[0][c] = plain[1][c] = plain[2][c] = true;
  plain[static_cast<size_t>(Escape::W3C)][' '] = false;
  for (const Escape e : {Escape::NCSA, Escape::JSON}) {
    plain[static_cast<size_t>(e)]['"'] = plain[static_cast<size_t>(e)]['\\'] = false;
  }
  return plain;
}
constexpr std::array<std::array<bool, 256>, 3> PLAIN = make_plain();

// A UTF-8 sequence at the start of `text`: its length and code point; length 0 where there is none.
struct Sequence {
  size_t size = 0;
  uint32_t code_point = 0;
};
Sequence utf8_at(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  size_t size = 0;
  uint32_t code = 0;
  uint32_t least = 0;
  if (first >= 0xc2 && first <= 0xdf) {
    size = 2, code = first & 0x1fU, least = 0x80;
  } else if (first >= 0xe0 && first <= 0xef) {
    size = 3, code = first & 0x0fU, least = 0x800;
  } else if (first >= 0xf0 && first <= 0xf4) {
    size = 4, code = first & 0x07U, least = 0x10000;
  }
  if (size == 0 || text.size() < size) return {};
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fU);
  }
  if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return {};
  return {size, code};
}

// Characters that a reader of logs may take for a line break, or that reorder what it shows.
bool misleading(uint32_t code) {
  return code < 0xa0 || code == 0x2028 || code == 0x2029 || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

char* put_hex(char* out, const char* digits, uint8_t byte) {
  *out++ = digits[byte >> 4];
  *out++ = digits[byte & 15];
  return out;
}

char* put_json_unit(char* out, uint32_t unit) {
  *out++ = '\\';
  *out++ = 'u';
  out = put_hex(out, LOWER_HEX, static_cast<uint8_t>(unit >> 8));
  return put_hex(out, LOWER_HEX, static_cast<uint8_t>(unit));
}

// One byte that may not pass: ASCII, or part of no sequence.
char* put_byte(Escape escape, char* out, uint8_t byte) {
  switch (escape) {
    case Escape::W3C:
      if (byte == ' ') {
        *out++ = '+';
        return out;
      }
      *out++ = '%';
      return put_hex(out, UPPER_HEX, byte);
    case Escape::NCSA:
      *out++ = '\\';
      if (byte == '"' || byte == '\\') {
        *out++ = static_cast<char>(byte);
        return out;
      }
      *out++ = 'x';
      return put_hex(out, LOWER_HEX, byte);
    case Escape::JSON:
      if (byte == '"' || byte == '\\') {
        *out++ = '\\';
        *out++ = static_cast<char>(byte);
        return out;
      }
      if (byte < 0x80) return put_json_unit(out, byte);
      *out++ = '%';
      return put_hex(out, UPPER_HEX, byte);
  }
  return out;
}

}  // namespace

size_t escape_text(Escape escape, std::string_view text, char* out) {
  const std::array<bool, 256>& plain = PLAIN[static_cast<size_t>(escape)];
  char* const start = out;
  while (!text.empty()) {
    size_t run = 0;
    while (run < text.size() && plain[static_cast<uint8_t>(text[run])]) ++run;
    std::memcpy(out, text.data(), run);
    out += run;
    text.remove_prefix(run);
    if (text.empty()) break;

    const auto byte = static_cast<uint8_t>(text.front());
    const Sequence sequence = byte < 0x80 ? Sequence{} : utf8_at(text);
    if (sequence.size == 0) {
      out = put_byte(escape, out, byte);
      text.remove_prefix(1);
      continue;
    }
    if (!misleading(sequence.code_point)) {
      std::memcpy(out, text.data(), sequence.size);
      out += sequence.size;
    } else if (escape == Escape::JSON) {
      out = put_json_unit(out, sequence.code_point);  // all of them are below U+10000
    } else {
      for (size_t i = 0; i < sequence.size; ++i) out = put_byte(escape, out, static_cast<uint8_t>(text[i]));
    }
    text.remove_prefix(sequence.size);
  }
  return static_cast<size_t>(out - start);
}

}  // namespace penstock
