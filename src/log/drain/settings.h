// AccessLogSettings: the keys log.access.*, or those of one logfile.NAME, as logd uses them. A value; made by the role
// from the configuration.
#pragma once

#include "src/log/drain/fields.h"
#include "src/log/drain/line_format.h"

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

using RotatePeriod = RotatePeriodSetting;  // log.access.rotate_period

struct AccessLogSettings {
  std::string name;  // of a logfile; empty: log.access
  LogFormat format = LogFormat::NONE;
  std::string path;  // empty: no log, whatever the format
  std::vector<LogField> fields = default_log_fields();
  std::vector<std::string> where;  // terms of a LogFilter
  uint64_t rotate_bytes = 0;       // 0: not by size
  RotatePeriod rotate_period = RotatePeriod::NONE;
  uint32_t keep = 0;  // rotated files; 0: all
  bool utc = true;
  LogFullSetting on_full = LogFullSetting::DROP_NEWEST;  // REFUSE is the reactors' business
  bool operator==(const AccessLogSettings&) const = default;

  [[nodiscard]] std::string what() const { return name.empty() ? "access log" : "log file " + name; }
  [[nodiscard]] bool wanted() const { return format != LogFormat::NONE && !path.empty(); }
};

}  // namespace penstock
