// The byte classes of RFC 9110 and RFC 3986 as one table, for the scalar paths. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace penstock {

inline constexpr uint8_t SYNTAX_TOKEN = 1;       // tchar
inline constexpr uint8_t SYNTAX_VALUE = 2;       // a byte of a field value: HTAB, SP, VCHAR, obs-text
inline constexpr uint8_t SYNTAX_PATH = 4;        // a byte of a target before '?': all but controls, SP, '#', '?'
inline constexpr uint8_t SYNTAX_QUERY = 8;       // the same with '?'
inline constexpr uint8_t SYNTAX_HOST = 16;       // letter, digit, '-', '_'
inline constexpr uint8_t SYNTAX_VERBATIM = 64;   // ASCII that decoding a path leaves alone: no control, '%', backslash
inline constexpr uint8_t SYNTAX_UNESCAPED = 32;  // pchar (but '%') and '/': may stand unescaped in a path

consteval std::array<uint8_t, 256> make_syntax_table() {
  std::array<uint8_t, 256> table{};
  for (unsigned c = 0; c < 256; ++c) {
    const bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const char ch = static_cast<char>(c);
    unsigned bits = 0;
    if (alnum || (c < 128 && std::string_view("!#$%&'*+-.^_`|~").find(ch) != std::string_view::npos)) {
      bits |= SYNTAX_TOKEN;
    }
    if ((c >= 0x20 && c != 0x7f) || c == '\t') bits |= SYNTAX_VALUE;
    if (c > 0x20 && c != 0x7f && c != '#') bits |= SYNTAX_QUERY | (c != '?' ? SYNTAX_PATH : 0);
    if (alnum || c == '-' || c == '_') bits |= SYNTAX_HOST;
    if (alnum || (c < 128 && std::string_view("-._~!$&'()*+,;=:@/").find(ch) != std::string_view::npos)) {
      bits |= SYNTAX_UNESCAPED;
    }
    if (c >= 0x20 && c < 0x7f && c != '%' && c != '\\') bits |= SYNTAX_VERBATIM;
    table[c] = static_cast<uint8_t>(bits);
  }
  return table;
}
inline constexpr std::array<uint8_t, 256> SYNTAX_TABLE = make_syntax_table();

constexpr bool is_syntax(char c, uint8_t classes) {
  return (SYNTAX_TABLE[static_cast<unsigned char>(c)] & classes) != 0;
}

constexpr bool is_http_token(std::string_view text) {
  for (const char c : text) {
    if (!is_syntax(c, SYNTAX_TOKEN)) return false;
  }
  return !text.empty();
}

// The next element of a comma-separated list, white space around it removed, and `list` moved behind its comma.
// Quoted strings are not looked into. Empty elements are given too. REQUIRES: !list.empty() or a first call.
constexpr std::string_view next_element(std::string_view& list) {
  const size_t comma = list.find(',');
  std::string_view element = list.substr(0, comma);
  list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  while (!element.empty() && (element.front() == ' ' || element.front() == '\t')) element.remove_prefix(1);
  while (!element.empty() && (element.back() == ' ' || element.back() == '\t')) element.remove_suffix(1);
  return element;
}

}  // namespace penstock
