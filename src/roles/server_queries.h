// Questions that the supervisor passes on from the control socket (`penstock cache ...`), as JSON.
#pragma once

#include <string>
#include <string_view>

namespace penstock {

class ServerProcess;

// {"cmd": "cache.stats" | "cache.top" (n) | "cache.why" (url) | "cache.purge" (what: URL, prefix*, tag:NAME, all)}.
[[nodiscard]] std::string answer_query(ServerProcess& process, std::string_view query);

}  // namespace penstock
