// The sandbox of a role: one call after which the process can do its job and nothing else.
//
// Called once by the role itself (server, logd, keyd), from its only thread, before it starts others: Landlock and
// capabilities are per thread and are inherited by the threads made later, so entering first covers every thread
// without a race. What the role sets up before (io_uring rings, maps, open roots) it keeps; what it sets up after must
// fit the lists in syscalls_server.def / syscalls_logd.def / syscalls_keyd.def. Rings made before must not use SQPOLL:
// its kernel thread would keep the old credentials.
//
// It never weakens anything silently: the report names every step that does not hold and why. A step that the kernel
// should do but refuses for another reason than absence is an Error, and the role must exit.
// The only home of libseccomp, libcap-ng and the Landlock system calls.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock {

// Which allow list of system calls the process lives with afterwards.
enum class SyscallProfile : uint8_t {
  SERVER,  // syscalls_server.def: serves files and accepted sockets
  LOGD,    // syscalls_logd.def: reads rings, appends to, renames and removes files
  KEYD,    // syscalls_keyd.def: signs; opens nothing
};

struct SandboxIdentity {
  uid_t uid = 0;
  gid_t gid = 0;
};

struct SandboxProfile {
  std::optional<SandboxIdentity> identity;  // nothing: keep the caller's (started without root)
  SyscallProfile syscalls = SyscallProfile::SERVER;
  std::vector<std::string> read_only_paths;   // directories or files with all beneath; one that is missing is reported
  std::vector<std::string> read_write_paths;  // may also create, rename and remove regular files there
  std::optional<std::vector<int>> keep_fds;   // if given: every descriptor but 0, 1, 2 and these is closed
  bool lock_memory = false;      // none of it is ever swapped out; wants root, or an unlimited RLIMIT_MEMLOCK
  uint64_t threads_max = 0;      // RLIMIT_NPROC when the identity is the role's own; 0: leave it
  bool name_violations = false;  // development: a forbidden call is named on stderr before the end
  // Threads that a library has made before, and the way to run something in each of them: they are confined as well.
  int other_threads = 0;
  std::function<Status(const std::function<void()>&)> in_other_threads;
  int parent_death_signal = 0;  // sent by the kernel when the supervisor dies; 0: none
};

struct SandboxStep {
  std::string name;  // "seccomp", "landlock files", ...
  bool holds = false;
  std::string detail;  // what now holds, or why it does not
};

struct SandboxReport {
  std::vector<SandboxStep> steps;
  [[nodiscard]] bool complete() const;       // every step holds
  [[nodiscard]] std::string weaker() const;  // "landlock network: kernel ABI 3 (needs 4); ..." or "" when complete
};

// Enters the sandbox, in this order: descriptors, memory lock, identity, capabilities, no_new_privs, dumpable, parent
// death, resource limits, Landlock (files, network, scopes), seccomp. There is no way back. REQUIRES: one thread,
// but for those that the profile names.
// Error: a step failed for a reason other than an older kernel or a missing privilege.
[[nodiscard]] Result<SandboxReport> enter_sandbox(const SandboxProfile& profile);

// The Landlock ABI of the running kernel; 0 when there is none (not built, or not enabled at boot).
[[nodiscard]] int landlock_abi();

// True if a running process with these roots may also serve `wanted` (each is equal to or beneath a root, textually).
// A Landlock domain cannot be widened: when this is false, the role must be replaced by a new process.
[[nodiscard]] bool landlock_covers(const std::vector<std::string>& roots, const std::string& wanted);

}  // namespace penstock
