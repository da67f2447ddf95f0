#include "src/config/error.h"

#include <fmt/format.h>

namespace penstock {
namespace {

// Bytes that could move a terminal's cursor, or are no text, shown as what they are.
std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string quote_for_message(std::string_view text) {
  constexpr size_t SHOWN_MAX = 100;
  std::string out = "\"";
  for (const char c : text.substr(0, SHOWN_MAX)) {
    const auto byte = static_cast<unsigned char>(c);
    // Bytes above ASCII too: the text may be cut within a character, or be none.
    out += byte < 0x20 || byte >= 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return out + (text.size() > SHOWN_MAX ? "\"…" : "\"");
}

std::string to_text(const ConfigError& error) {
  std::string out;
  if (!error.source.empty()) out += escape(error.source) + ":";
  if (error.line != 0) out += fmt::format("{}:", error.line);
  if (!out.empty()) out += ' ';
  if (!error.key.empty()) out += escape(error.key.substr(0, 300)) + ": ";
  return out + error.message;
}

std::string to_text(const ConfigErrors& errors) {
  std::string out;
  for (const ConfigError& error : errors) out += to_text(error) + "\n";
  return out;
}

}  // namespace penstock
