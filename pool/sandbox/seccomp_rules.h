// What the rules of the syscalls_*.def tables mean, and how rows become a filter. Internal to pool/sandbox.
//
// The filter sees register values, never memory: a call whose dangerous part is behind a pointer (clone3, openat2) is
// either refused so that libraries fall back, or confined by Landlock.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <memory>
#include <seccomp.h>
#include <span>

// Younger than libseccomp 2.5 (Linux 6.5); the number is the same on every architecture.
#ifndef __NR_cachestat
#define __NR_cachestat 451
#endif
#ifndef __SNR_cachestat
#define __SNR_cachestat __NR_cachestat
#endif

namespace penstock {

enum class SyscallRule : uint8_t {
  ANY,                    // the arguments are free
  NO_EXEC,                // mmap, mprotect: PROT_EXEC never
  EXEC_OF_FILES,          // mmap: PROT_EXEC for what lies in a file and is not writable, else EACCES
  EXEC_REFUSED,           // mprotect: PROT_EXEC gets EACCES
  READ_ONLY_OPEN,         // openat: O_RDONLY, creating and truncating nothing
  READ_ONLY_OPEN_LEGACY,  // open: the same, flags one argument earlier
  THREAD_ONLY,            // clone: CLONE_THREAD, so no process
  PROCESS_OR_THREAD,      // clone: no namespaces
  EXEC_ONCE,              // execve: with the three addresses of ExecOnce
  EXEC_BY_LANDLOCK,       // execve: free; with a listener all but ExecOnce's waits for the supervisor first
  SEND_ONCE,              // sendmsg: with the socket and the address of SendOnce
  SELF,                   // tgkill: this process only
  SELF_OR_ZERO,           // sched_getaffinity: this thread or process; glibc asks by pid
  PRCTL,                  // a short list of options
  WORKER_PRCTL,           // another, and PR_SET_DUMPABLE with 0
  FCNTL,                  // a short list of commands
  WORKER_FCNTL,           // the same with locks; no owners, leases and seals
  IOCTL,                  // a short list of requests
  WORKER_IOCTL,           // a longer one; what programs try on files gets ENOTTY
  SOCKET_OPTION,          // setsockopt: a short list of levels with their options
  URING_REGISTER,         // a short list of opcodes
  LIMITS_READ,            // prlimit64: on this process, without a new limit
  OWN_LIMITS_READ,        // prlimit64: pid 0; a new limit gets EPERM
  OWN_LIMITS,             // prlimit64: pid 0
  UNIX_PAIR,              // socketpair: AF_UNIX
  SOCKET,                 // socket: the families of the worker's network; the others of these get an errno
  PROBE_SOCKET,           // socket: AF_UNIX gets EACCES, AF_NETLINK EAFNOSUPPORT; libraries go on without
  OWN_USER,               // setuid: to the user that it is already
  REFUSE_NO_GROUPS,       // setgroups: of none, which gets EPERM
  REFUSE_NOSYS,           // ENOSYS, as an older kernel would say
  REFUSE_PERM,            // EPERM
};

struct SyscallRow {
  int number;  // negative: this architecture does not have it
  SyscallRule rule;
  const char* name;
};

// What rules need to know beyond their row.
struct SyscallContext {
  uint64_t exec_path = 0, exec_arguments = 0, exec_environment = 0;  // EXEC_ONCE, EXEC_BY_LANDLOCK
  bool listener = false;                                             // EXEC_BY_LANDLOCK
  uint64_t send_socket = 0, send_message = 0;                        // SEND_ONCE
  bool unix_sockets = false, internet_sockets = false;               // SOCKET
};

using SeccompFilter = std::unique_ptr<void, decltype(&seccomp_release)>;

// An empty filter that answers everything with `otherwise` (SCMP_ACT_KILL_PROCESS, SCMP_ACT_TRAP, SCMP_ACT_NOTIFY).
[[nodiscard]] Result<SeccompFilter> make_filter(uint32_t otherwise);
[[nodiscard]] Status add_rows(SeccompFilter& filter, std::span<const SyscallRow> rows, const SyscallContext& context);
// On every thread of the process. False: the kernel has no seccomp filters.
[[nodiscard]] Result<bool> load_filter(SeccompFilter& filter);
// On this thread, which is the only one: the listener to which SCMP_ACT_NOTIFY goes. A call that waits there is
// interrupted by nothing but its end, where the kernel can do so (since Linux 5.19).
// Error: the kernel gives none (code EBUSY: a filter around this one has one). Nothing is in force then.
[[nodiscard]] Result<UniqueFd> load_with_listener(SeccompFilter& filter);

}  // namespace penstock
