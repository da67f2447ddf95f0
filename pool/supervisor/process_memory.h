// Memory of a worker, for recycle.memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>

namespace penstock {

// Resident bytes of the process, and of all that it has started what they do not share with others (files, shared
// memory): what would come free if all ended, but for pages that forks have in common. Nothing: it has ended. At most
// PROCESSES_MAX processes are looked at. `proc`: where /proc is; tests differ.
[[nodiscard]] std::optional<uint64_t> tree_resident_bytes(pid_t pid, const std::string& proc = "/proc");
inline constexpr size_t PROCESSES_MAX = 4096;

}  // namespace penstock
