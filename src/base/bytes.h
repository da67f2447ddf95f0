// Text as bytes: ASCII case, decimal and hex without locale, errno or exceptions.
//
// Everything here is pure. What a peer sent goes through these, never through strtol or sscanf.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>

namespace penstock {

constexpr char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Equal but for ASCII case.
constexpr bool iequals(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (ascii_lower(a[i]) != ascii_lower(b[i])) return false;
  }
  return true;
}

// Whether one of the names equals it but for ASCII case.
constexpr bool iequals_any(std::string_view name, std::span<const std::string_view> names) {
  for (const std::string_view one : names) {
    if (iequals(name, one)) return true;
  }
  return false;
}
constexpr bool iequals_any(std::string_view name, std::initializer_list<std::string_view> names) {
  return iequals_any(name, std::span<const std::string_view>(names.begin(), names.size()));
}

// Digits only (no sign, no space), the whole of `text`, no overflow; else nothing.
constexpr std::optional<uint64_t> parse_decimal(std::string_view text) {
  if (text.empty()) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return std::nullopt;
    if (value > (UINT64_MAX - static_cast<uint64_t>(c - '0')) / 10) return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

// The value of one hex digit, or -1.
constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char l = ascii_lower(c);
  if (l >= 'a' && l <= 'f') return l - 'a' + 10;
  return -1;
}

// Writes `value` in decimal at `out` (room for 20 bytes) and returns its length.
inline size_t write_decimal(char* out, uint64_t value) {
  return static_cast<size_t>(std::to_chars(out, out + 20, value).ptr - out);
}

// Spaces and tabs off both ends (OWS of RFC 9110 section 5.6.3).
constexpr std::string_view trim_ows(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace penstock
