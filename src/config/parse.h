// From text to assignments: the grammar of the config file, and nothing of what keys mean.
//
//   file    = *line
//   line    = [ key "=" [ value ] ] [ comment ]          blanks around each part are dropped
//   key     = what stands before the first "="; letters, digits and . _ - + *
//   value   = text; "…" holds blanks, commas, '#' and quotes (\" and \\ inside)
//   comment = "#" to the end of the line, at its start or after a blank, not inside quotes
// The text is UTF-8 without control characters but tab; a line may end in CRLF; a byte order mark is skipped.
// Pure, save for read_config_file. Never stops at the first error.
#pragma once

#include "src/base/result.h"
#include "src/config/error.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// One `key = value` as written. `value` is raw: trimmed and without comment, quotes still on; empty means "reset".
struct Assignment {
  std::string key;
  std::string value;
  std::string source;  // file name, "--set", "-w"
  uint32_t line = 0;   // 1-based; 0 where the source has no lines

  bool operator==(const Assignment&) const = default;
};

struct ParseResult {
  std::vector<Assignment> assignments;  // those that could be read, even if there are errors
  ConfigErrors errors;
};

inline constexpr size_t CONFIG_TEXT_BYTES_MAX = size_t{64} << 20;
inline constexpr size_t CONFIG_LINE_BYTES_MAX = size_t{1} << 20;

// Every line of `text`; `source` names it in messages. A key assigned twice is an error that names both lines.
ParseResult parse_text(std::string_view text, std::string_view source);

// One assignment from a command line ("KEY=VALUE", source "--set" or "-w"). No comments here: '#' is a character.
ConfigResult<Assignment> parse_assignment(std::string_view text, std::string_view source);

// Reads a regular file whole (at most CONFIG_TEXT_BYTES_MAX). Blocks; for start and the control thread.
Result<std::string> read_config_file(const std::string& path);

}  // namespace penstock
