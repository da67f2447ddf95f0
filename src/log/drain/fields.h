// The fields that a line of an access log can have, by name. From src/config/log_fields.def. Pure.
#pragma once

#include "src/base/result.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

enum class LogField : uint8_t {
#define FIELD(name, w3c, json, type, help) name,
#include "src/config/log_fields.def"
};

enum class LogFieldType : uint8_t { NUMBER, STRING, TEXT };

struct LogFieldInfo {
  std::string_view w3c;
  std::string_view json;
  LogFieldType type;
  std::string_view help;
};

inline constexpr auto LOG_FIELD_INFO = std::to_array<LogFieldInfo>({
#define FIELD(name, w3c, json, type, help) {w3c, json, LogFieldType::type, help},
#include "src/config/log_fields.def"
});

inline constexpr size_t LOG_FIELDS_MAX = 64;  // of one line

// Names as in log.access.fields to fields; letters of either case. On error: the first name that is none,
// an empty list, or more than LOG_FIELDS_MAX.
[[nodiscard]] Result<std::vector<LogField>> log_fields(std::span<const std::string> names);

// The default of log.access.fields: all that IIS writes by default but the Windows error, and reason,
// cache verdict and bytes.
[[nodiscard]] std::vector<LogField> default_log_fields();

}  // namespace penstock
