// Questions that the supervisor passes on from the control socket (`penstock cache ...`), as JSON.
#pragma once

#include <string>
#include <string_view>

namespace penstock {

class ServerProcess;

// {"query": "cache-stats" | "cache-top" | "cache-why" | "cache-purge", ...} to {...} or {"error": "..."}.
[[nodiscard]] std::string answer_query(ServerProcess& process, std::string_view query);

}  // namespace penstock
