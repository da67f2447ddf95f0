// unshare(2), one namespace at a time, so that the report can name the one that was not to be had.
//
// The pid namespace is not made here: it begins with a process, not with a call, so the supervisor starts the worker
// inside it (src/admin/worker_process.h). Here is only seen whether it did.
#include "pool/sandbox/worker_steps.h"
#include "src/base/unique_fd.h"

#include <cerrno>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <system_error>
#include <unistd.h>

namespace penstock {
namespace {

bool write_file(const char* path, const std::string& text) {
  const UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  return fd.valid() && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// The same user inside as outside: only the privileges over what this process unshares next are new.
bool unshare_user(SandboxStep& step) {
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  step.name = "user namespace";
  // Looked for first: a namespace without a map is one where nobody is anybody.
  if (::access("/proc/self/uid_map", W_OK) == 0 && ::unshare(CLONE_NEWUSER) == 0 &&
      write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", uid + " " + uid + " 1") &&
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
  if (!sandbox.has_namespaces()) {
    if (!sandbox.identity) {
      steps.push_back({"server's half", false,
                       "who owns it opens it for writing through /proc: takes another user, or namespaces"});
    }
    return had;
  }
  const bool own = ::getppid() == 0;  // its parent is not in it
  steps.push_back({"pid namespace", own,
                   own ? "sees no process but those that it starts" : "takes root, or penstock-init is not installed"});
  const Kind kinds[] = {
      {"mount namespace", CLONE_NEWNS, true, "mounts of its own"},
      {"network namespace", CLONE_NEWNET, sandbox.network != WorkerNetwork::CLIENT,
       "no device, no abstract socket of others"},
      {"ipc namespace", CLONE_NEWIPC, true, "no IPC object of others"},
      {"uts namespace", CLONE_NEWUTS, true, "a host name of its own"},
      {"cgroup namespace", CLONE_NEWCGROUP, true, "its cgroup is the root"},
  };
  if (::geteuid() != 0) {
    SandboxStep step;
    had.user = unshare_user(step);
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

Status enter_user_namespace(const WorkerSandbox& sandbox, WorkerNamespaces& had, std::vector<SandboxStep>& steps) {
  if (!sandbox.has_root() || had.user) return {};
  // The change of user has given /proc/self to root; a map can be written only by who may open it.
  if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return fail_errno("sandbox: PR_SET_DUMPABLE");
  SandboxStep step;
  had.user = unshare_user(step);
  if (had.user) step.detail = "of its own, in which there is no user but its own";
  steps.push_back(step);
  return had.user ? drop_bounding_set() : Status{};
}

}  // namespace penstock
