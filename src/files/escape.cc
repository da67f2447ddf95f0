// The escapers of listings. A file name is any bytes but '/' and NUL, so all three take any bytes.
#include "src/files/directory_list.h"

#include <array>

namespace penstock {
namespace {

constexpr std::string_view REPLACEMENT = "\xEF\xBF\xBD";  // U+FFFD
constexpr char HEX[] = "0123456789ABCDEF";

// Length of the well-formed UTF-8 sequence at the front of `text` (Unicode 15, table 3-7), or 0.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0U) == 0x80; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (!continues(1) || !continues(2)) return 0;
    if (lead == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
    if (lead == 0xED && byte(1) > 0x9F) return 0;  // surrogates
    return 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (lead == 0xF0 && byte(1) < 0x90) return 0;
    if (lead == 0xF4 && byte(1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

// Calls ascii(c) for every ASCII character and copies well-formed UTF-8 as it is.
template <typename Ascii>
void append_utf8(std::string_view text, std::string& out, Ascii&& ascii) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 1) {
      ascii(text.front());
    } else if (length == 0) {
      out += REPLACEMENT;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

constexpr std::array<bool, 256> unreserved_table() {
  std::array<bool, 256> table{};
  for (const char c : std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}
constexpr std::array<bool, 256> UNRESERVED = unreserved_table();

}  // namespace

void append_html_escaped(std::string_view text, std::string& out) {
  append_utf8(text, out, [&](char c) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        // Control characters may not stand in HTML, not even as references.
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          out += REPLACEMENT;
        } else {
          out += c;
        }
    }
  });
}

void append_json_escaped(std::string_view text, std::string& out) {
  append_utf8(text, out, [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += HEX[byte >> 4];
      out += HEX[byte & 15];
    } else {
      out += c;
    }
  });
}

void append_url_escaped(std::string_view segment, std::string& out) {
  for (const char c : segment) {
    const auto byte = static_cast<unsigned char>(c);
    if (UNRESERVED[byte]) {
      out += c;
    } else {
      out += '%';
      out += HEX[byte >> 4];
      out += HEX[byte & 15];
    }
  }
}

}  // namespace penstock
