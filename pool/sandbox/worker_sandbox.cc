// One readable order. Why it is this one:
// - cgroup, namespaces and mounts take privileges; a user namespace must come before the others;
// - but the user namespace of a worker that was root comes after its identity, which then is the only user in it;
// - descriptors are marked first, so that what the steps open themselves is covered;
// - from the identity on it is as for the roles (sandbox.cc), with Landlock after the mounts, whose paths it opens,
//   and seccomp last, because it forbids everything that the steps before it do.
#include "pool/sandbox/worker_sandbox.h"

#include "pool/sandbox/worker_steps.h"

#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
namespace {

using Steps = std::vector<SandboxStep>;

Status keep_descriptors(const std::vector<int>& keep, Steps& steps) {
  if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return fail_errno("sandbox: close_range");
  for (const int fd : keep) {
    if (::fcntl(fd, F_SETFD, 0) != 0) return fail_errno("sandbox: keep descriptor " + std::to_string(fd));
  }
  steps.push_back({"descriptors", true, std::to_string(keep.size()) + " kept besides 0, 1 and 2"});
  return {};
}

Status make_namespaces(const WorkerSandbox& sandbox, WorkerNamespaces& had, Steps& steps) {
  auto entered = enter_namespaces(sandbox, steps);
  if (!entered) return std::unexpected(entered.error());
  had = *entered;
  if (had.mount) return arrange_mounts(sandbox, steps);
  if (sandbox.private_tmp) steps.push_back({"/tmp", false, "takes a mount namespace; it has none"});
  return {};
}

// The supervisor holds the cgroups, the segments and the log: a worker without it serves nobody.
Status die_with_supervisor() {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return fail_errno("sandbox: PDEATHSIG");
  return {};
}

Status enter_directory(const std::string& directory) {
  if (::chdir(directory.c_str()) != 0) return fail_errno("enter the directory " + directory);
  return {};
}

// Holds until the exec; the runtime's memory is kept by Landlock and the pid namespace.
Status hide_role() {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail_errno("sandbox: PR_SET_DUMPABLE");
  return {};
}

}  // namespace

Result<SandboxReport> enter_worker_sandbox(const WorkerSandbox& sandbox, const std::string& directory,
                                           const std::vector<int>& keep_fds, const ExecOnce& once, int supervisor) {
  if (thread_count() > 1) return fail("sandbox: entered with more than one thread");
  SandboxReport report;
  Steps& steps = report.steps;
  WorkerNamespaces namespaces;
  Status ok = keep_descriptors(keep_fds, steps);
  if (ok) ok = join_cgroups(sandbox, steps);
  if (ok) ok = make_namespaces(sandbox, namespaces, steps);
  if (ok) ok = drop_bounding_set();
  if (ok) ok = take_identity(sandbox.identity, sandbox.groups, steps);
  if (ok) ok = enter_user_namespace(sandbox, namespaces, steps);
  if (ok) ok = drop_capabilities(steps);
  if (ok) ok = forbid_privileges(steps);
  if (ok) ok = hide_role();
  if (ok) ok = die_with_supervisor();
  if (ok) ok = enter_directory(directory);
  if (ok) ok = set_limits(sandbox, namespaces, steps);
  if (ok) ok = set_affinity(sandbox, steps);
  if (ok) ok = landlock_restrict(worker_landlock(sandbox), steps);
  if (ok) ok = forbid_syscalls(sandbox, once, supervisor, steps);
  if (!ok) return std::unexpected(ok.error());
  return report;
}

}  // namespace penstock
