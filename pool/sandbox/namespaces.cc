// unshare(2), one namespace at a time, so that the report can name the one that was not to be had.
//
// The pid namespace is not made here: it begins with a process, not with a call, so the supervisor starts the worker
// inside it (src/admin/worker_process.h). Here is only seen whether it did.
#include "pool/sandbox/worker_steps.h"
#include "src/base/unique_fd.h"

#include <cerrno>
#include <fcntl.h>
#include <sched.h>
#include <system_error>
#include <unistd.h>

namespace penstock {
namespace {

bool write_file(const char* path, const std::string& text) {
  const UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  return fd.valid() && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// The same user inside as outside: only the privileges over what this process unshares next are new.
bool enter_user_namespace(SandboxStep& step) {
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  step.name = "user namespace";
  if (::unshare(CLONE_NEWUSER) == 0 && write_file("/proc/self/setgroups", "deny") &&
      write_file("/proc/self/uid_map", uid + " " + uid + " 1") &&
      write_file("/proc/self/gid_map", gid + " " + gid + " 1")) {
    step.holds = true;
    step.detail = "of its own, as the same user";
    return true;
  }
  step.detail = "the system refuses it: " + std::generic_category().message(errno);
  return false;
}

struct Kind {
  const char* name;
  int flag;
  bool wanted;
  const char* what;
};

}  // namespace

Result<WorkerNamespaces> enter_namespaces(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps) {
  WorkerNamespaces had;
  if (sandbox.pid_namespace) {
    const bool own = ::getppid() == 0;  // its parent is not in it
    steps.push_back(
        {"pid namespace", own,
         own ? "sees no process but those that it starts" : "takes root, or penstock-init is not installed"});
  }
  const Kind kinds[] = {
      {"mount namespace", CLONE_NEWNS, sandbox.mount_namespace, "mounts of its own"},
      {"network namespace", CLONE_NEWNET, sandbox.mount_namespace && sandbox.network != WorkerNetwork::CLIENT,
       "no device, no abstract socket of others"},
      {"ipc namespace", CLONE_NEWIPC, sandbox.ipc_namespace, "no IPC object of others"},
      {"uts namespace", CLONE_NEWUTS, sandbox.uts_namespace, "a host name of its own"},
      {"cgroup namespace", CLONE_NEWCGROUP, sandbox.mount_namespace, "its cgroup is the root"},
  };
  bool any = false;
  for (const Kind& kind : kinds) any = any || kind.wanted;
  if (any && ::geteuid() != 0) {
    SandboxStep step;
    had.user = enter_user_namespace(step);
    steps.push_back(step);
    if (!had.user) return had;
  }
  for (const Kind& kind : kinds) {
    if (!kind.wanted) continue;
    if (::unshare(kind.flag) == 0) {
      steps.push_back({kind.name, true, kind.what});
      had.mount = had.mount || kind.flag == CLONE_NEWNS;
    } else {
      steps.push_back({kind.name, false, "the system refuses it: " + std::generic_category().message(errno)});
    }
  }
  return had;
}

}  // namespace penstock
