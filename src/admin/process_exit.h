// How a process ended, by its pidfd: of a child, and of one that is somebody else's child.
#pragma once

#include "src/admin/role_process.h"

#include <optional>
#include <sys/types.h>

namespace penstock {

// Reaps a child. `wait`: until it has ended; otherwise nothing where it has not.
[[nodiscard]] std::optional<RoleExit> wait_for_exit(int pidfd, bool wait);

// Of a process that has ended and whose parent is another: what PIDFD_GET_INFO says once it was reaped (Linux 6.15),
// what /proc/PID/stat says before. Nothing where neither can tell. `pid`: its number.
[[nodiscard]] std::optional<RoleExit> foreign_exit(int pidfd, pid_t pid);

}  // namespace penstock
