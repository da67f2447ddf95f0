// Which parts of the file system a role must reach under a configuration: the roots of its Landlock domain.
//
// Used by the role (to build its sandbox) and by the supervisor (to know whether a running process can take a new
// configuration, or must be replaced because its domain cannot grow). Pure.
#pragma once

#include "src/config/settings.h"

#include <string>
#include <vector>

namespace penstock {

// Read-only: the roots of all sites and routes, each once, none beneath another.
[[nodiscard]] std::vector<std::string> server_read_paths(const Settings& settings);

// What keyd may ask for: the key files of all sites, each once.
[[nodiscard]] std::vector<std::string> key_files(const Settings& settings);

// Read-write: the directory of each log file.
[[nodiscard]] std::vector<std::string> logd_write_paths(const Settings& settings);

// True if a process that reaches `have` reaches all of `wanted`.
[[nodiscard]] bool paths_covered(const std::vector<std::string>& have, const std::vector<std::string>& wanted);

}  // namespace penstock
