// The steps of enter_worker_sandbox() that have a file of their own. Internal to pool/sandbox; see worker_sandbox.h.
// Each adds to the report what holds now, or why it does not.
#pragma once

#include "pool/sandbox/steps.h"
#include "pool/sandbox/worker_sandbox.h"

#include <vector>

namespace penstock {

// cgroup.cc: puts this process into the cgroups that the supervisor made.
[[nodiscard]] Status join_cgroups(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps);

// namespaces.cc. Without root a user namespace comes first; where that is refused, none is had, and the report says so.
struct WorkerNamespaces {
  bool user = false;   // in a user namespace of its own
  bool mount = false;  // in a mount namespace of its own
};
[[nodiscard]] Result<WorkerNamespaces> enter_namespaces(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps);

// A worker with a root of its own gets a user namespace in any case: once it is who it will be, because no other user
// is to exist in there. Its bounding set is empty again afterwards.
[[nodiscard]] Status enter_user_namespace(const WorkerSandbox& sandbox, WorkerNamespaces& had,
                                          std::vector<SandboxStep>& steps);

// own_root.cc: leaves the worker in a root that holds what Landlock will grant, at the same paths, and nothing else.
// What it may not write is read only. REQUIRES: namespaces.mount, mounts that reach no one else.
[[nodiscard]] Status enter_own_root(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps);

// mounts.cc: /proc, /tmp, and no execution from what it can write. REQUIRES: namespaces.mount.
[[nodiscard]] Status arrange_mounts(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps);

// rlimits.cc.
[[nodiscard]] Status set_limits(const WorkerSandbox& sandbox, const WorkerNamespaces& namespaces,
                                std::vector<SandboxStep>& steps);
[[nodiscard]] Status set_affinity(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps);

// system_paths.cc: what is granted to the worker, with the system's files that its profile needs.
[[nodiscard]] LandlockRules worker_landlock(const WorkerSandbox& sandbox);

// seccomp_worker.cc: the last step.
[[nodiscard]] Status forbid_syscalls(const WorkerSandbox& sandbox, const ExecOnce& once, int supervisor,
                                     std::vector<SandboxStep>& steps);

}  // namespace penstock
