// Answers as text for people: aligned lines and tables out of JSON. Pure.
#pragma once

#include "src/admin/json.h"

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

// "name   value" a line for every scalar member, then each array of objects as a table under its name.
[[nodiscard]] std::string render_object(const Json& object);

// Columns as wide as their widest cell; numbers to the right. All rows have as many cells as the first.
[[nodiscard]] std::string render_table(const std::vector<std::vector<std::string>>& rows);

// The steps of a sandbox, a line each: whether it holds, its name, what holds or why it does not.
[[nodiscard]] std::string render_sandbox(const Json& steps);

// A scalar as text: strings escaped for a terminal, null as "-".
[[nodiscard]] std::string render_scalar(const Json& value);

// "1.5 GiB", "12 KiB", "17 B".
[[nodiscard]] std::string render_bytes(double bytes);
// "1.2 M", "15.3 k", "7".
[[nodiscard]] std::string render_count(double count);
// "120 us", "3.4 ms", "12.0 s", "3 h 5 min".
[[nodiscard]] std::string render_micros(uint64_t us);

}  // namespace penstock
