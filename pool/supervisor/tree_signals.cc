#include "pool/supervisor/tree_signals.h"

#include "pool/supervisor/process_memory.h"
#include "pool/supervisor/read_text.h"
#include "src/base/bytes.h"
#include "src/base/unique_fd.h"

#include <set>
#include <string_view>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
namespace {

// /proc/PID/stat: the fourth field, behind a name in brackets that may hold anything. 0: it has ended.
uint64_t parent_of(pid_t pid, const std::string& proc) {
  constexpr size_t STATE = 4;  // ") S "
  const std::string text = read_text(proc + "/" + std::to_string(pid) + "/stat").value_or("");
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos || name_end + STATE > text.size()) return 0;
  const std::string_view rest = std::string_view(text).substr(name_end + STATE);
  return parse_decimal(rest.substr(0, rest.find(' '))).value_or(0);
}

}  // namespace

void signal_descendants(const std::vector<pid_t>& roots, int number, const std::string& proc) {
  std::set<pid_t> known(roots.begin(), roots.end());
  for (size_t before = 0; before != known.size();) {
    before = known.size();
    for (const pid_t root : roots) {
      for (const pid_t pid : tree_processes(root, proc)) {
        if (known.contains(pid)) continue;
        const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
        // The child of one of them, so it is the process that was found; and if that has ended since, so has this.
        if (!process.valid() || !known.contains(static_cast<pid_t>(parent_of(pid, proc)))) continue;
        known.insert(pid);
        ::syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0);
      }
    }
  }
}

}  // namespace penstock
