#include "src/server/head_edit.h"

#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "src/http/status.h"

#include <algorithm>

namespace penstock {

std::string edit_head(std::string_view head, const HeadEdit& edit) {
  std::string out;
  out.reserve(head.size() + 256);
  size_t line_end = head.find("\r\n");
  ASSERT(line_end != std::string_view::npos);
  if (edit.status == 0) {
    out.append(head.substr(0, line_end + 2));
  } else {
    out.append("HTTP/1.1 ").append(std::to_string(edit.status)).append(" ");
    out.append(status_phrase(edit.status)).append("\r\n");
  }
  for (size_t at = line_end + 2; at < head.size(); at = line_end + 2) {
    line_end = head.find("\r\n", at);
    ASSERT(line_end != std::string_view::npos);
    if (line_end == at) break;
    const std::string_view line = head.substr(at, line_end - at);
    const std::string_view name = line.substr(0, line.find(':'));
    const auto same = [&](const auto& other) { return iequals(other, name); };
    if (std::any_of(edit.remove.begin(), edit.remove.end(), same)) continue;
    const auto change = std::find_if(edit.replace.begin(), edit.replace.end(),
                                     [&](const auto& entry) { return iequals(entry.first, name); });
    if (change == edit.replace.end()) {
      out.append(line).append("\r\n");
    } else {
      out.append(change->first).append(": ").append(change->second).append("\r\n");
    }
  }
  for (const auto& [name, value] : edit.add) out.append(name).append(": ").append(value).append("\r\n");
  return out.append("\r\n");
}

}  // namespace penstock
