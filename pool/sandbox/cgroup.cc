#include "pool/sandbox/worker_steps.h"
#include "src/base/unique_fd.h"

#include <fcntl.h>
#include <string_view>

namespace penstock {

Status join_cgroups(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps) {
  if (sandbox.cgroup.empty()) return {};
  for (std::string_view left = sandbox.cgroup; !left.empty();) {
    const std::string_view directory = left.substr(0, left.find(':'));
    left.remove_prefix(std::min(directory.size() + 1, left.size()));
    const std::string path = std::string(directory) + "/cgroup.procs";
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    // "0" is the writer itself, whatever its number is in which namespace.
    if (!fd.valid() || ::write(fd.get(), "0", 1) != 1) return fail_errno("sandbox: join " + path);
  }
  steps.push_back({"cgroup", true, sandbox.cgroup});
  return {};
}

}  // namespace penstock
