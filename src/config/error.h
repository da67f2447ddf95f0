// ConfigError: one thing wrong in a configuration, placed so that a person can go and mend it.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct ConfigError {
  std::string source;   // file name, "--set", "-w"; empty where the fault has no single place
  uint32_t line = 0;    // 1-based; 0 where the source has no lines
  std::string key;      // as written; may be empty (a line that is no assignment)
  std::string message;  // "expected a size from 256 to 1m, got \"12q\""

  bool operator==(const ConfigError&) const = default;
};

// All that is wrong, in the order of the text, then what only shows when the whole is looked at.
using ConfigErrors = std::vector<ConfigError>;

template <class T>
using ConfigResult = std::expected<T, ConfigErrors>;

// At most this many errors are looked for in one text; a last one then says that there may be more.
inline constexpr size_t CONFIG_ERRORS_MAX = 1000;

// "site.conf:3: limits.head_bytes: expected …, got …" without newline; control characters are escaped.
std::string to_text(const ConfigError& error);
// One error a line, each line ended.
std::string to_text(const ConfigErrors& errors);

// `text` within double quotes for a message: cut at 100 bytes, control characters as \xNN.
std::string quote_for_message(std::string_view text);

}  // namespace penstock
