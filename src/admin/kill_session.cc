#include "src/admin/kill_session.h"

#include "src/base/bytes.h"
#include "src/base/unique_fd.h"

#include <csignal>
#include <dirent.h>
#include <memory>
#include <set>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {

void kill_session(pid_t leader) {
  std::set<pid_t> killed = {leader};
  for (size_t before = 0; before != killed.size();) {
    before = killed.size();
    const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
    while (const dirent* entry = processes != nullptr ? ::readdir(processes.get()) : nullptr) {
      const auto pid = static_cast<pid_t>(parse_decimal(entry->d_name).value_or(0));
      if (pid <= 0 || killed.contains(pid) || ::getsid(pid) != leader) continue;
      const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
      if (!process.valid() || ::getsid(pid) != leader) continue;  // its number was given to another meanwhile
      killed.insert(pid);
      ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
    }
  }
}

}  // namespace penstock
