// The sandbox of a worker process: what application code may do.
//
// Entered by the worker role before it execs the runtime, in one readable order (the steps of enter_worker_sandbox()).
// A profile says all of it; who makes the profile out of the configuration is src/admin/worker_profile.h.
#pragma once

#include "pool/sandbox/exec_once.h"
#include "pool/sandbox/sandbox.h"
#include "src/base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock {

// Which allow list of system calls the worker lives with. As bits: processes, network.
enum class WorkerSyscalls : uint8_t {
  COMPUTE,  // the default: no exec, no sockets, no new processes; at most 80 calls
  PROCESS,  // may also start programs (cgi, and fastcgi that starts its application)
  NETWORK,  // COMPUTE, and sockets as `network` says
  FULL,     // PROCESS and NETWORK
};

enum class WorkerNetwork : uint8_t {
  NONE,    // a network namespace of its own without a device where that can be had, and no sockets
  UNIX,    // unix sockets by path alone
  CLIENT,  // may connect over TCP and UDP
};

// What holds besides Landlock, seccomp, the identity and the limits, which every worker has. Each has all of the one
// before.
enum class WorkerTier : uint8_t {
  LANDLOCK,  // nothing
  UNSHARED,  // namespaces: pid, mount, network (but for `network = client`), IPC, host name, cgroup
  NS,        // a user namespace too, and a root of its own that holds nothing but the paths below
};

struct WorkerLimits {
  uint64_t files = 1024;       // RLIMIT_NOFILE
  uint64_t processes = 0;      // RLIMIT_NPROC; 0: leave it
  uint64_t address_space = 0;  // RLIMIT_AS, bytes; 0: leave it
  uint64_t core = 0;           // RLIMIT_CORE, bytes
};

struct WorkerSandbox {
  std::optional<SandboxIdentity> identity;  // nothing: keep the caller's (started without root)
  std::vector<gid_t> groups;                // supplementary; none by default
  WorkerSyscalls syscalls = WorkerSyscalls::COMPUTE;
  WorkerNetwork network = WorkerNetwork::NONE;
  // Landlock: files or directories with all beneath. The runtime itself and the system's libraries come on top.
  std::vector<std::string> read_paths;
  std::vector<std::string> write_paths;
  std::vector<std::string> execute_paths;
  std::vector<std::string>
      seen_paths;  // in a root of its own too, without any right of Landlock's: directories of sockets
  WorkerTier tier = WorkerTier::UNSHARED;  // made where the kernel lets us; each step is a line of the report
  bool private_tmp = false;                // an empty /tmp of its own, in memory; takes the mount namespace
  WorkerLimits limits;
  std::vector<uint32_t> cpus;  // cores it may run on; empty: any
  std::string cgroup;          // directories of the pool's cgroup, which the supervisor made, divided by ':'
  // What seccomp forbids, and every start of a program, waits for the supervisor (syscall_listener.h); otherwise the
  // one ends the process, and the other is Landlock's alone.
  bool listener = false;

  [[nodiscard]] bool has_namespaces() const { return tier != WorkerTier::LANDLOCK; }
  [[nodiscard]] bool has_root() const { return tier == WorkerTier::NS; }
};

// How many system calls a profile allows.
[[nodiscard]] size_t worker_syscall_count(WorkerSyscalls profile);

// All steps but exec. `directory`: the working directory afterwards. `keep_fds`: open across exec; all others above 2
// are closed at exec. `once`: the one command that may be executed. `supervisor`: a unix socket over which the listener
// goes, where one is wanted and the kernel gives it. There is no way back.
// REQUIRES: one thread. Error: a step failed for a reason other than an older kernel or a missing privilege.
[[nodiscard]] Result<SandboxReport> enter_worker_sandbox(const WorkerSandbox& sandbox, const std::string& directory,
                                                         const std::vector<int>& keep_fds, const ExecOnce& once,
                                                         int supervisor);

}  // namespace penstock
