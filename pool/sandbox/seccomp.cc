// The allow lists as a seccomp filter, by libseccomp. The lists are the two .def files; here is what their rules mean.
//
// The filter sees register values, never memory: a call whose dangerous part is behind a pointer (clone3, openat2) is
// either refused so that libraries fall back, or confined by Landlock.
#include "pool/sandbox/steps.h"

#include <cerrno>
#include <fcntl.h>
#include <initializer_list>
#include <linux/prctl.h>
#include <memory>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

// Younger than libseccomp 2.5 (Linux 6.5); the number is the same on every architecture.
#ifndef __NR_cachestat
#define __NR_cachestat 451
#endif
#ifndef __SNR_cachestat
#define __SNR_cachestat __NR_cachestat
#endif

namespace penstock {
namespace {

enum class Rule : uint8_t {
  ANY,                    // the arguments are free
  NO_EXEC,                // mmap, mprotect: PROT_EXEC never
  READ_ONLY_OPEN,         // openat: O_RDONLY, creating and truncating nothing
  READ_ONLY_OPEN_LEGACY,  // open: the same, flags one argument earlier
  THREAD_ONLY,            // clone: CLONE_THREAD, so no process
  SELF,                   // tgkill: this process only
  SELF_OR_ZERO,           // sched_getaffinity: this thread or process; glibc asks by pid
  PRCTL,                  // a short list of options
  FCNTL,                  // a short list of commands
  IOCTL,                  // a short list of requests
  URING_REGISTER,         // a short list of opcodes
  LIMITS_READ,            // prlimit64: on this process, without a new limit
  REFUSE_NOSYS,           // ENOSYS, as an older kernel would say
};

struct SyscallRow {
  int number;
  Rule rule;
  const char* name;
};

constexpr SyscallRow SERVER_SYSCALLS[] = {
#define PENSTOCK_SYSCALL(name, rule, why) {SCMP_SYS(name), Rule::rule, #name},
#include "pool/sandbox/syscalls_server.def"
#undef PENSTOCK_SYSCALL
};

constexpr SyscallRow LOGD_SYSCALLS[] = {
#define PENSTOCK_SYSCALL(name, rule, why) {SCMP_SYS(name), Rule::rule, #name},
#include "pool/sandbox/syscalls_logd.def"
#undef PENSTOCK_SYSCALL
};

// include/uapi/linux/io_uring.h: restrictions (11), enable (12), files update (6, 14), ring fds (20, 21), buffer rings
// (22, 23), file slots range (25), the limit of its kernel threads (19). Not: buffers, personality, NAPI, clone.
constexpr scmp_datum_t URING_REGISTER_OPCODES[] = {6, 11, 12, 14, 19, 20, 21, 22, 23, 25};
constexpr scmp_datum_t PRCTL_OPTIONS[] = {PR_SET_NAME,        PR_GET_NAME,       PR_SET_VMA,
                                          PR_GET_THP_DISABLE, PR_SET_TIMERSLACK, PR_GET_DUMPABLE};
constexpr scmp_datum_t FCNTL_COMMANDS[] = {F_GETFD,     F_SETFD,     F_GETFL,      F_SETFL,     F_DUPFD_CLOEXEC,
                                           F_GET_SEALS, F_ADD_SEALS, F_SETPIPE_SZ, F_GETPIPE_SZ};
constexpr scmp_datum_t IOCTL_REQUESTS[] = {TCGETS, FIONREAD, FIONBIO};
constexpr scmp_datum_t OPEN_FORBIDDEN = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY) | O_APPEND;

using Context = std::unique_ptr<void, decltype(&seccomp_release)>;

// What SCMP_CMP64 and its kin make, without their compound literals, which are C's.
constexpr scmp_arg_cmp equals(unsigned arg, scmp_datum_t value) { return {arg, SCMP_CMP_EQ, value, 0}; }
constexpr scmp_arg_cmp masked(unsigned arg, scmp_datum_t mask, scmp_datum_t value) {
  return {arg, SCMP_CMP_MASKED_EQ, mask, value};
}

int allow(scmp_filter_ctx ctx, int number, std::initializer_list<scmp_arg_cmp> args) {
  return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, number, static_cast<unsigned>(args.size()), args.begin());
}

template <size_t N>
int allow_values(scmp_filter_ctx ctx, int number, unsigned arg, const scmp_datum_t (&values)[N]) {
  int rc = 0;
  for (const scmp_datum_t value : values) {
    if (rc == 0) rc = allow(ctx, number, {equals(arg, static_cast<uint32_t>(value))});
  }
  return rc;
}

int add_row(scmp_filter_ctx ctx, const SyscallRow& row) {
  const auto pid = static_cast<scmp_datum_t>(::getpid());
  switch (row.rule) {
    case Rule::ANY:
      return allow(ctx, row.number, {});
    case Rule::NO_EXEC:
      return allow(ctx, row.number, {masked(2, PROT_EXEC, 0)});
    case Rule::READ_ONLY_OPEN:
      return allow(ctx, row.number, {masked(2, OPEN_FORBIDDEN, 0)});
    case Rule::READ_ONLY_OPEN_LEGACY:
      return allow(ctx, row.number, {masked(1, OPEN_FORBIDDEN, 0)});
    case Rule::THREAD_ONLY:
      return allow(ctx, row.number, {masked(0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM)});
    case Rule::SELF:
      return allow(ctx, row.number, {equals(0, static_cast<uint32_t>(pid))});
    case Rule::SELF_OR_ZERO:
      return allow(ctx, row.number, {});  // reads one mask; thread ids are not known ahead
    case Rule::PRCTL:
      return allow_values(ctx, row.number, 0, PRCTL_OPTIONS);
    case Rule::FCNTL:
      return allow_values(ctx, row.number, 1, FCNTL_COMMANDS);
    case Rule::IOCTL:
      return allow_values(ctx, row.number, 1, IOCTL_REQUESTS);
    case Rule::URING_REGISTER:
      return allow_values(ctx, row.number, 1, URING_REGISTER_OPCODES);
    case Rule::LIMITS_READ: {
      const int rc = allow(ctx, row.number, {equals(0, 0), equals(2, 0)});
      if (rc != 0) return rc;
      return allow(ctx, row.number, {equals(0, static_cast<uint32_t>(pid)), equals(2, 0)});
    }
    case Rule::REFUSE_NOSYS:
      return seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(ENOSYS), row.number, 0, nullptr);
  }
  return -EINVAL;
}

template <size_t N>
Status add_rows(scmp_filter_ctx ctx, const SyscallRow (&rows)[N]) {
  for (const SyscallRow& row : rows) {
    // A negative number is a call that this architecture does not have (open on arm64).
    if (row.number < 0) continue;
    if (const int rc = add_row(ctx, row); rc != 0) return fail_errno(std::string("seccomp: allow ") + row.name, -rc);
  }
  return {};
}

}  // namespace

Status seccomp_enter(const SandboxProfile& profile, std::vector<SandboxStep>& steps) {
  const uint32_t otherwise = profile.name_violations ? SCMP_ACT_TRAP : SCMP_ACT_KILL_PROCESS;
  const Context ctx(seccomp_init(otherwise), &seccomp_release);
  if (!ctx) return fail("seccomp: no memory for the filter", ENOMEM);
  int rc = seccomp_attr_set(ctx.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  if (rc == 0) rc = seccomp_attr_set(ctx.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  if (rc == 0) rc = seccomp_attr_set(ctx.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree: ~7 tests instead of ~90
  if (rc == 0) rc = seccomp_attr_set(ctx.get(), SCMP_FLTATR_API_SYSRAWRC, 1);
  if (rc != 0) return fail_errno("seccomp: attributes", -rc);

  const bool server = profile.syscalls == SyscallProfile::SERVER;
  if (Status ok = server ? add_rows(ctx.get(), SERVER_SYSCALLS) : add_rows(ctx.get(), LOGD_SYSCALLS); !ok) return ok;
  const size_t count = server ? std::size(SERVER_SYSCALLS) : std::size(LOGD_SYSCALLS);

  rc = seccomp_load(ctx.get());
  if (rc == -ENOSYS || rc == -EINVAL) {
    steps.push_back({"seccomp", false, "the kernel is built without seccomp filters"});
    return {};
  }
  if (rc != 0) return fail_errno("seccomp: load", -rc);
  steps.push_back({"seccomp", true,
                   "allow list of " + std::to_string(count) + " system calls, else " +
                       (profile.name_violations ? "SIGSYS, named on stderr" : "the process is killed")});
  return {};
}

}  // namespace penstock
