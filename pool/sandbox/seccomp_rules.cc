#include "pool/sandbox/seccomp_rules.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <initializer_list>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

namespace penstock {
namespace {

// include/uapi/linux/io_uring.h: restrictions (11), enable (12), files update (6, 14), ring fds (20, 21), buffer rings
// (22, 23), file slots range (25), the limit of its kernel threads (19). Not: buffers, personality, NAPI, clone.
constexpr scmp_datum_t URING_REGISTER_OPCODES[] = {6, 11, 12, 14, 19, 20, 21, 22, 23, 25};
constexpr scmp_datum_t PRCTL_OPTIONS[] = {PR_SET_NAME,        PR_GET_NAME,       PR_SET_VMA,
                                          PR_GET_THP_DISABLE, PR_SET_TIMERSLACK, PR_GET_DUMPABLE};
constexpr scmp_datum_t FCNTL_COMMANDS[] = {F_GETFD,     F_SETFD,     F_GETFL,      F_SETFL,     F_DUPFD_CLOEXEC,
                                           F_GET_SEALS, F_ADD_SEALS, F_SETPIPE_SZ, F_GETPIPE_SZ};
constexpr scmp_datum_t IOCTL_REQUESTS[] = {TCGETS, FIONREAD, FIONBIO, TIOCOUTQ};
// What accepted sockets and listeners are told. (DPDK's drivers say more, but to sockets that they make before.)
struct LevelAndOption {
  int level;
  int option;
};
constexpr LevelAndOption SOCKET_OPTIONS[] = {
    {SOL_SOCKET, SO_LINGER}, {IPPROTO_TCP, TCP_NODELAY}, {IPPROTO_TCP, TCP_ULP}, {SOL_TLS, TLS_TX}};
constexpr scmp_datum_t WORKER_PRCTL_OPTIONS[] = {
    PR_SET_NAME,      PR_GET_NAME,         PR_SET_VMA,          PR_GET_DUMPABLE,    PR_SET_PDEATHSIG,
    PR_GET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_THP_DISABLE, PR_GET_THP_DISABLE,
    PR_CAPBSET_READ,  PR_SET_TIMERSLACK,   PR_GET_TIMERSLACK,   PR_GET_KEEPCAPS,    PR_GET_SECUREBITS};
constexpr scmp_datum_t WORKER_FCNTL_COMMANDS[] = {
    F_DUPFD,  F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,      F_GETFL,     F_SETFL,      F_GETLK,     F_SETLK,
    F_SETLKW, F_OFD_GETLK,     F_OFD_SETLK, F_OFD_SETLKW, F_GET_SEALS, F_SETPIPE_SZ, F_GETPIPE_SZ};
constexpr scmp_datum_t WORKER_IOCTL_REQUESTS[] = {TCGETS,   FIONREAD,   FIONBIO,   FIOCLEX,
                                                  FIONCLEX, TIOCGWINSZ, TIOCGPGRP, TIOCOUTQ};
// What cp, ls, stty and interface lists try; they go on without.
constexpr scmp_datum_t WORKER_IOCTLS_REFUSED[] = {
    FICLONE,   FICLONERANGE, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, TCSETS,       TCSETSW,     TCSETSF,
    TIOCSPGRP, TIOCSCTTY,    SIOCGIFCONF,     SIOCGIFFLAGS,    SIOCGIFINDEX, SIOCGIFADDR, SIOCGIFHWADDR};
constexpr scmp_datum_t OPEN_FORBIDDEN = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY) | O_APPEND;

constexpr scmp_datum_t NAMESPACES =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

// What SCMP_CMP64 and its kin make, without their compound literals, which are C's.
constexpr scmp_arg_cmp equals(unsigned arg, scmp_datum_t value) { return {arg, SCMP_CMP_EQ, value, 0}; }
constexpr scmp_arg_cmp masked(unsigned arg, scmp_datum_t mask, scmp_datum_t value) {
  return {arg, SCMP_CMP_MASKED_EQ, mask, value};
}

constexpr scmp_arg_cmp differs(unsigned arg, scmp_datum_t value) { return {arg, SCMP_CMP_NE, value, 0}; }

int refuse(scmp_filter_ctx ctx, int number, int error, std::initializer_list<scmp_arg_cmp> args) {
  return seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(static_cast<uint16_t>(error)), number,
                                static_cast<unsigned>(args.size()), args.begin());
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

// The rules that only workers' tables use.
int add_worker_row(scmp_filter_ctx ctx, const SyscallRow& row, const SyscallContext& context) {
  const int number = row.number;
  int rc = 0;
  switch (row.rule) {
    case SyscallRule::EXEC_OF_FILES:
      rc = allow(ctx, number, {masked(2, PROT_EXEC, 0)});
      if (rc == 0) rc = allow(ctx, number, {masked(2, PROT_EXEC | PROT_WRITE, PROT_EXEC), masked(3, MAP_ANONYMOUS, 0)});
      if (rc == 0) rc = refuse(ctx, number, EACCES, {masked(2, PROT_EXEC | PROT_WRITE, PROT_EXEC | PROT_WRITE)});
      if (rc != 0) return rc;
      return refuse(ctx, number, EACCES,
                    {masked(2, PROT_EXEC | PROT_WRITE, PROT_EXEC), masked(3, MAP_ANONYMOUS, MAP_ANONYMOUS)});
    case SyscallRule::EXEC_REFUSED:
      rc = allow(ctx, number, {masked(2, PROT_EXEC, 0)});
      return rc != 0 ? rc : refuse(ctx, number, EACCES, {masked(2, PROT_EXEC, PROT_EXEC)});
    case SyscallRule::PROCESS_OR_THREAD:
      return allow(ctx, number, {masked(0, NAMESPACES, 0)});
    case SyscallRule::EXEC_BY_LANDLOCK:
      if (!context.listener) return allow(ctx, number, {});
      [[fallthrough]];
    case SyscallRule::EXEC_ONCE:
      return allow(
          ctx, number,
          {equals(0, context.exec_path), equals(1, context.exec_arguments), equals(2, context.exec_environment)});
    case SyscallRule::SEND_ONCE:
      return allow(ctx, number, {equals(0, context.send_socket), equals(1, context.send_message)});
    case SyscallRule::WORKER_PRCTL:
      rc = allow_values(ctx, number, 0, WORKER_PRCTL_OPTIONS);
      return rc != 0 ? rc : allow(ctx, number, {equals(0, PR_SET_DUMPABLE), equals(1, 0)});
    case SyscallRule::WORKER_FCNTL:
      return allow_values(ctx, number, 1, WORKER_FCNTL_COMMANDS);
    case SyscallRule::WORKER_IOCTL:
      rc = allow_values(ctx, number, 1, WORKER_IOCTL_REQUESTS);
      for (const scmp_datum_t request : WORKER_IOCTLS_REFUSED) {
        if (rc == 0) rc = refuse(ctx, number, ENOTTY, {equals(1, static_cast<uint32_t>(request))});
      }
      return rc;
    case SyscallRule::OWN_LIMITS_READ:
      rc = allow(ctx, number, {equals(0, 0), equals(2, 0)});
      return rc != 0 ? rc : refuse(ctx, number, EPERM, {equals(0, 0), differs(2, 0)});
    case SyscallRule::OWN_LIMITS:
      return allow(ctx, number, {equals(0, 0)});
    case SyscallRule::UNIX_PAIR:
      return allow(ctx, number, {equals(0, AF_UNIX)});
    case SyscallRule::SOCKET:
      // Resolvers ask netlink for interfaces and go on without.
      rc = refuse(ctx, number, EAFNOSUPPORT, {equals(0, AF_NETLINK)});
      if (rc == 0) {
        rc = context.unix_sockets ? allow(ctx, number, {equals(0, AF_UNIX)})
                                  : refuse(ctx, number, EACCES, {equals(0, AF_UNIX)});
      }
      for (const scmp_datum_t family : {scmp_datum_t{AF_INET}, scmp_datum_t{AF_INET6}}) {
        if (rc != 0) return rc;
        rc = context.internet_sockets ? allow(ctx, number, {equals(0, family)})
                                      : refuse(ctx, number, EAFNOSUPPORT, {equals(0, family)});
      }
      return rc;
    case SyscallRule::PROBE_SOCKET:
      rc = refuse(ctx, number, EACCES, {equals(0, AF_UNIX)});
      return rc != 0 ? rc : refuse(ctx, number, EAFNOSUPPORT, {equals(0, AF_NETLINK)});
    case SyscallRule::OWN_USER:
      return allow(ctx, number, {equals(0, ::geteuid())});
    case SyscallRule::REFUSE_NO_GROUPS:
      return refuse(ctx, number, EPERM, {equals(0, 0)});
    case SyscallRule::REFUSE_PERM:
      return refuse(ctx, number, EPERM, {});
    default:
      return -EINVAL;
  }
}

int add_row(scmp_filter_ctx ctx, const SyscallRow& row, const SyscallContext& context) {
  const auto pid = static_cast<scmp_datum_t>(::getpid());
  switch (row.rule) {
    case SyscallRule::ANY:
      return allow(ctx, row.number, {});
    case SyscallRule::NO_EXEC:
      return allow(ctx, row.number, {masked(2, PROT_EXEC, 0)});
    case SyscallRule::READ_ONLY_OPEN:
      return allow(ctx, row.number, {masked(2, OPEN_FORBIDDEN, 0)});
    case SyscallRule::READ_ONLY_OPEN_LEGACY:
      return allow(ctx, row.number, {masked(1, OPEN_FORBIDDEN, 0)});
    case SyscallRule::THREAD_ONLY:
      return allow(ctx, row.number, {masked(0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM)});
    case SyscallRule::SELF:
      return allow(ctx, row.number, {equals(0, static_cast<uint32_t>(pid))});
    case SyscallRule::SELF_OR_ZERO:
      return allow(ctx, row.number, {});  // reads one mask; thread ids are not known ahead
    case SyscallRule::PRCTL:
      return allow_values(ctx, row.number, 0, PRCTL_OPTIONS);
    case SyscallRule::FCNTL:
      return allow_values(ctx, row.number, 1, FCNTL_COMMANDS);
    case SyscallRule::IOCTL:
      return allow_values(ctx, row.number, 1, IOCTL_REQUESTS);
    case SyscallRule::SOCKET_OPTION: {
      int rc = 0;
      for (const LevelAndOption& one : SOCKET_OPTIONS) {
        if (rc != 0) break;
        rc = allow(ctx, row.number,
                   {equals(1, static_cast<uint32_t>(one.level)), equals(2, static_cast<uint32_t>(one.option))});
      }
      return rc;
    }
    case SyscallRule::URING_REGISTER:
      return allow_values(ctx, row.number, 1, URING_REGISTER_OPCODES);
    case SyscallRule::LIMITS_READ: {
      const int rc = allow(ctx, row.number, {equals(0, 0), equals(2, 0)});
      if (rc != 0) return rc;
      return allow(ctx, row.number, {equals(0, static_cast<uint32_t>(pid)), equals(2, 0)});
    }
    case SyscallRule::REFUSE_NOSYS:
      return refuse(ctx, row.number, ENOSYS, {});
    default:
      return add_worker_row(ctx, row, context);
  }
}

}  // namespace

Result<SeccompFilter> make_filter(uint32_t otherwise) {
  SeccompFilter filter(seccomp_init(otherwise), &seccomp_release);
  if (!filter) return fail("seccomp: no memory for the filter", ENOMEM);
  int rc = seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  if (rc == 0) rc = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  if (rc == 0) rc = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree: ~7 tests instead of ~90
  if (rc == 0) rc = seccomp_attr_set(filter.get(), SCMP_FLTATR_API_SYSRAWRC, 1);
  if (rc != 0) return fail_errno("seccomp: attributes", -rc);
  return filter;
}

Status add_rows(SeccompFilter& filter, std::span<const SyscallRow> rows, const SyscallContext& context) {
  for (const SyscallRow& row : rows) {
    // A negative number is a call that this architecture does not have (open on arm64).
    if (row.number < 0) continue;
    const int rc = add_row(filter.get(), row, context);
    if (rc != 0) return fail_errno(std::string("seccomp: allow ") + row.name, -rc);
  }
  return {};
}

Result<bool> load_filter(SeccompFilter& filter) {
  const int rc = seccomp_load(filter.get());
  if (rc == -ENOSYS || rc == -EINVAL) return false;
  if (rc != 0) return fail_errno("seccomp: load", -rc);
  return true;
}

// libseccomp can load such a filter, but not so that signals leave its waiting calls alone. So it only makes the
// program.
Result<UniqueFd> load_with_listener(SeccompFilter& filter) {
  const UniqueFd file(::memfd_create("penstock-filter", MFD_CLOEXEC));
  if (!file.valid()) return fail_errno("seccomp: memfd_create");
  if (const int rc = seccomp_export_bpf(filter.get(), file.get()); rc != 0) return fail_errno("seccomp: export", -rc);
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  std::vector<sock_filter> code(static_cast<size_t>(std::max<off_t>(size, 0)) / sizeof(sock_filter));
  const size_t bytes = code.size() * sizeof(sock_filter);
  if (code.empty() || code.size() > BPF_MAXINSNS ||
      ::pread(file.get(), code.data(), bytes, 0) != static_cast<ssize_t>(bytes)) {
    return fail("seccomp: the filter could not be read back");
  }
  const sock_fprog program{.len = static_cast<unsigned short>(code.size()), .filter = code.data()};
  for (const unsigned long flags :
       {SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, SECCOMP_FILTER_FLAG_NEW_LISTENER}) {
    const long fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    if (errno != EINVAL) break;
  }
  return fail_errno("seccomp: listener");
}

}  // namespace penstock
