// Memory and CPU time of a worker, for recycle.memory and recycle.cpu, and of the machine, for idle_memory.
#pragma once

#include "src/base/time.h"

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock {

// Resident bytes of the process, and of all that it has started what they do not share with others (files, shared
// memory): what would come free if all ended, but for pages that forks have in common. Nothing: it has ended. At most
// PROCESSES_MAX processes are looked at. `proc`: where /proc is; tests differ.
[[nodiscard]] std::optional<uint64_t> tree_resident_bytes(pid_t pid, const std::string& proc = "/proc");
// What the process and all that it has started have computed, and of those that have ended what was waited for.
// Nothing: it has ended.
[[nodiscard]] std::optional<Duration> tree_cpu_time(pid_t pid, const std::string& proc = "/proc");
// How much of the machine's memory is in use: what is not available to new programs (MemAvailable of proc_meminfo(5)).
// Nothing: it cannot be read.
[[nodiscard]] std::optional<uint32_t> memory_used_percent(const std::string& proc = "/proc");
// The process, then all that it has started and that still live.
[[nodiscard]] std::vector<pid_t> tree_processes(pid_t pid, const std::string& proc = "/proc");
// 0: it has ended.
[[nodiscard]] pid_t parent_process(pid_t pid, const std::string& proc = "/proc");
inline constexpr size_t PROCESSES_MAX = 4096;

}  // namespace penstock
