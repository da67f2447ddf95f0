// The steps of enter_sandbox() and enter_worker_sandbox() that have a file of their own. Internal to pool/sandbox; see
// sandbox.h.
#pragma once

#include "pool/sandbox/sandbox.h"
#include "src/base/result.h"

#include <optional>
#include <string>
#include <vector>

namespace penstock {

// How many threads this process has; 0 if /proc is not there to tell.
[[nodiscard]] int thread_count();

// privileges.cc, in the order in which they are to be called. Each that says something adds a step to the report.
[[nodiscard]] Status drop_bounding_set();
[[nodiscard]] Status take_identity(const std::optional<SandboxIdentity>& identity, const std::vector<gid_t>& groups,
                                   std::vector<SandboxStep>& steps);
[[nodiscard]] Status drop_capabilities(std::vector<SandboxStep>& steps);
[[nodiscard]] Status forbid_privileges(std::vector<SandboxStep>& steps);
[[nodiscard]] Status hide_memory(std::vector<SandboxStep>& steps);

// What a Landlock domain leaves: everything else is denied.
struct LandlockRules {
  enum class Access : uint8_t { READ, WRITE, ALL_BUT_EXECUTE, EXECUTE };  // WRITE: regular files; EXECUTE: and read
  struct Path {
    std::string path;  // a file, or a directory with all beneath
    Access access = Access::READ;
    bool may_be_missing = false;  // else the report says that it could not be opened
  };
  std::vector<Path> paths;
  bool tcp_connect = false;
  bool executes = false;  // what is denied after the next exec is told to the kernel's audit log, too (ABI 7)
};

// Confines files, TCP, signals and abstract sockets of this thread and all it starts. Adds three steps to the report.
// REQUIRES: no_new_privs is set. An older kernel is reported, never an Error.
[[nodiscard]] Status landlock_restrict(const LandlockRules& rules, std::vector<SandboxStep>& steps);

// The same for a role: its paths, no TCP.
// REQUIRES: no_new_privs is set. An older kernel is reported, never an Error.
[[nodiscard]] Status landlock_enter(const SandboxProfile& profile, std::vector<SandboxStep>& steps);

// Installs the allow list on every thread. REQUIRES: no_new_privs is set; must be the last step.
[[nodiscard]] Status seccomp_enter(const SandboxProfile& profile, std::vector<SandboxStep>& steps);

}  // namespace penstock
