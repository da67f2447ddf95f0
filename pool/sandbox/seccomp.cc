// The allow lists of the roles as a seccomp filter. The lists are three .def files.
#include "pool/sandbox/seccomp_rules.h"
#include "pool/sandbox/steps.h"

#include <iterator>

namespace penstock {
namespace {

constexpr SyscallRow SERVER_SYSCALLS[] = {
#define PENSTOCK_SYSCALL(name, rule, why) {SCMP_SYS(name), SyscallRule::rule, #name},
#include "pool/sandbox/syscalls_server.def"
#undef PENSTOCK_SYSCALL
};

constexpr SyscallRow LOGD_SYSCALLS[] = {
#define PENSTOCK_SYSCALL(name, rule, why) {SCMP_SYS(name), SyscallRule::rule, #name},
#include "pool/sandbox/syscalls_logd.def"
#undef PENSTOCK_SYSCALL
};

constexpr SyscallRow KEYD_SYSCALLS[] = {
#define PENSTOCK_SYSCALL(name, rule, why) {SCMP_SYS(name), SyscallRule::rule, #name},
#include "pool/sandbox/syscalls_keyd.def"
#undef PENSTOCK_SYSCALL
};

std::span<const SyscallRow> role_rows(SyscallProfile profile) {
  switch (profile) {
    case SyscallProfile::SERVER:
      return SERVER_SYSCALLS;
    case SyscallProfile::LOGD:
      return LOGD_SYSCALLS;
    case SyscallProfile::KEYD:
      return KEYD_SYSCALLS;
  }
  return {};
}

}  // namespace

Status seccomp_enter(const SandboxProfile& profile, std::vector<SandboxStep>& steps) {
  auto filter = make_filter(profile.name_violations ? SCMP_ACT_TRAP : SCMP_ACT_KILL_PROCESS);
  if (!filter) return std::unexpected(filter.error());
  const std::span<const SyscallRow> rows = role_rows(profile.syscalls);
  if (Status ok = add_rows(*filter, rows, {}); !ok) return ok;
  const Result<bool> loaded = load_filter(*filter);
  if (!loaded) return std::unexpected(loaded.error());
  if (!*loaded) {
    steps.push_back({"seccomp", false, "the kernel is built without seccomp filters"});
    return {};
  }
  steps.push_back({"seccomp", true,
                   "allow list of " + std::to_string(rows.size()) + " system calls, else " +
                       (profile.name_violations ? "SIGSYS, named on stderr" : "the process is killed")});
  return {};
}

}  // namespace penstock
