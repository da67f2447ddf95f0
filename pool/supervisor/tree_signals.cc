#include "pool/supervisor/tree_signals.h"

#include "pool/supervisor/process_memory.h"
#include "src/base/unique_fd.h"

#include <set>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
void signal_descendants(const std::vector<pid_t>& roots, int number, const std::string& proc) {
  std::set<pid_t> known(roots.begin(), roots.end());
  for (size_t before = 0; before != known.size();) {
    before = known.size();
    for (const pid_t root : roots) {
      for (const pid_t pid : tree_processes(root, proc)) {
        if (known.contains(pid)) continue;
        const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
        // The child of one of them, so it is the process that was found; and if that has ended since, so has this.
        if (!process.valid() || !known.contains(parent_process(pid, proc))) continue;
        known.insert(pid);
        ::syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0);
      }
    }
  }
}

}  // namespace penstock
