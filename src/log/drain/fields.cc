#include "src/log/drain/fields.h"

#include "src/base/bytes.h"

namespace penstock {

Result<std::vector<LogField>> log_fields(std::span<const std::string> names) {
  if (names.empty()) return fail("log.access.fields: expected at least one field");
  if (names.size() > LOG_FIELDS_MAX) {
    return fail("log.access.fields: expected at most " + std::to_string(LOG_FIELDS_MAX) + " fields");
  }
  std::vector<LogField> fields;
  for (const std::string& name : names) {
    const std::string_view wanted = iequals(name, "cs(Host)") ? std::string_view("cs-host") : std::string_view(name);
    size_t index = 0;
    while (index < LOG_FIELD_INFO.size() && !iequals(LOG_FIELD_INFO[index].w3c, wanted)) ++index;
    if (index == LOG_FIELD_INFO.size()) return fail("log.access.fields: there is no field \"" + name + '"');
    fields.push_back(static_cast<LogField>(index));
  }
  return fields;
}

std::vector<LogField> default_log_fields() {
  using enum LogField;
  return {DATE,      TIME,         C_IP,     CS_USERNAME, S_IP,     S_PORT,   CS_METHOD,  CS_URI_STEM,   CS_URI_QUERY,
          SC_STATUS, SC_SUBSTATUS, X_REASON, X_CACHE,     SC_BYTES, CS_BYTES, TIME_TAKEN, CS_USER_AGENT, CS_REFERER};
}

}  // namespace penstock
