#include "pool/sandbox/worker_steps.h"

#include <algorithm>
#include <cerrno>
#include <sched.h>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

namespace penstock {
namespace {

Status limit(__rlimit_resource_t what, const char* name, uint64_t value) {
  rlimit now{};
  if (::getrlimit(what, &now) != 0) return fail_errno("sandbox: getrlimit");
  const rlim_t most = std::min<rlim_t>(value, now.rlim_max);  // raising takes a privilege that is gone
  const rlimit wanted{most, most};
  if (::setrlimit(what, &wanted) != 0) return fail_errno(std::string("sandbox: limit of ") + name);
  return {};
}

}  // namespace

Status set_limits(const WorkerSandbox& sandbox, const WorkerNamespaces& namespaces, std::vector<SandboxStep>& steps) {
  const WorkerLimits& limits = sandbox.limits;
  // The kernel counts the processes of a user, in a user namespace of its own from nought: a user that has others
  // would be held by what these do.
  const bool counts = limits.processes != 0 && (sandbox.identity || namespaces.user);
  Status ok = limit(RLIMIT_CORE, "core files", limits.core);
  if (ok) ok = limit(RLIMIT_NOFILE, "descriptors", limits.files);
  if (ok && counts) ok = limit(RLIMIT_NPROC, "processes", limits.processes);
  if (ok && limits.address_space != 0) ok = limit(RLIMIT_AS, "address space", limits.address_space);
  if (!ok) return ok;
  std::string text = std::to_string(limits.files) + " descriptors";
  if (counts) text += ", " + std::to_string(limits.processes) + " processes and threads";
  if (limits.address_space != 0) text += ", " + std::to_string(limits.address_space) + " bytes of address space";
  text += ", core files of " + std::to_string(limits.core) + " bytes";
  const bool holds = counts || limits.processes == 0;
  steps.push_back({"limits", holds, text + (holds ? "" : "; processes are not counted for a user that has others")});
  return {};
}

Status set_affinity(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps) {
  if (sandbox.cpus.empty()) return {};
  cpu_set_t set;
  CPU_ZERO(&set);
  std::string text;
  for (const uint32_t cpu : sandbox.cpus) {
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
    text += (text.empty() ? "" : " ") + std::to_string(cpu);
  }
  if (::sched_setaffinity(0, sizeof set, &set) != 0) {
    steps.push_back({"cores", false, text + ": " + std::generic_category().message(errno)});
    return {};
  }
  steps.push_back({"cores", true, text});
  return {};
}

}  // namespace penstock
