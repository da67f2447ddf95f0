// One readable order; see sandbox.cc for why privileges, Landlock and seccomp follow each other as they do.
#include "pool/sandbox/worker_sandbox.h"

#include "pool/sandbox/steps.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
namespace {

using Steps = std::vector<SandboxStep>;

// At exec, so that what the steps below hold open is covered too.
Status keep_descriptors(const std::vector<int>& keep, Steps& steps) {
  if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return fail_errno("sandbox: close_range");
  for (const int fd : keep) {
    if (::fcntl(fd, F_SETFD, 0) != 0) return fail_errno("sandbox: keep descriptor " + std::to_string(fd));
  }
  steps.push_back({"descriptors", true, std::to_string(keep.size()) + " kept besides 0, 1 and 2"});
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

Status limit(int what, const char* name, uint64_t value) {
  rlimit now{};
  if (::getrlimit(static_cast<__rlimit_resource_t>(what), &now) != 0) return fail_errno("sandbox: getrlimit");
  const rlim_t most = std::min<rlim_t>(value, now.rlim_max);  // raising takes a privilege that is gone
  const rlimit wanted{most, most};
  if (::setrlimit(static_cast<__rlimit_resource_t>(what), &wanted) != 0) {
    return fail_errno(std::string("sandbox: limit of ") + name);
  }
  return {};
}

Status set_limits(const WorkerLimits& limits, Steps& steps) {
  Status ok = limit(RLIMIT_CORE, "core files", limits.core);
  if (ok) ok = limit(RLIMIT_NOFILE, "descriptors", limits.files);
  if (ok && limits.processes != 0) ok = limit(RLIMIT_NPROC, "processes", limits.processes);
  if (ok && limits.address_space != 0) ok = limit(RLIMIT_AS, "address space", limits.address_space);
  if (!ok) return ok;
  std::string text = std::to_string(limits.files) + " descriptors";
  if (limits.processes != 0) text += ", " + std::to_string(limits.processes) + " processes and threads";
  if (limits.address_space != 0) text += ", " + std::to_string(limits.address_space) + " bytes of address space";
  steps.push_back({"limits", true, text + ", core files of " + std::to_string(limits.core) + " bytes"});
  return {};
}

}  // namespace

Result<SandboxReport> enter_worker_sandbox(const WorkerSandbox& sandbox, const std::string& directory,
                                           const std::vector<int>& keep_fds, const ExecOnce&) {
  if (thread_count() > 1) return fail("sandbox: entered with more than one thread");
  SandboxReport report;
  Steps& steps = report.steps;
  Status ok = keep_descriptors(keep_fds, steps);
  if (ok) ok = drop_bounding_set();
  if (ok) ok = take_identity(sandbox.identity, sandbox.groups, steps);
  if (ok) ok = drop_capabilities(steps);
  if (ok) ok = forbid_privileges(steps);
  if (ok) ok = hide_memory(steps);
  if (ok) ok = die_with_supervisor();
  if (ok) ok = enter_directory(directory);
  if (ok) ok = set_limits(sandbox.limits, steps);
  if (!ok) return std::unexpected(ok.error());
  return report;
}

}  // namespace penstock
