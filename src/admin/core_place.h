// Where the kernel has put the core file of a process that has ended: core_pattern of core(5), with what is known of
// it.
#pragma once

#include <string>
#include <string_view>
#include <sys/types.h>

namespace penstock {

struct CoreOf {
  std::string directory;  // where it worked, unless it has gone elsewhere
  std::string program;    // its path
  pid_t pid = -1;
  uid_t uid = 0;
  gid_t gid = 0;
  int signal = 0;
};

// A path, "*" in it for what only the kernel knows (times, numbers within a pid namespace); or, for a pattern that
// hands the core to a program, "given to PROGRAM". `pattern`: of /proc/sys/kernel/core_pattern; `uses_pid`:
// core_uses_pid.
[[nodiscard]] std::string core_place(std::string_view pattern, bool uses_pid, const CoreOf& of);
// The same, as this machine has it.
[[nodiscard]] std::string core_place(const CoreOf& of);

}  // namespace penstock
