// The allow lists of workers as a seccomp filter: syscalls_worker.def, and what the profile puts on top.
#include "pool/sandbox/seccomp_rules.h"
#include "pool/sandbox/worker_steps.h"

#include <algorithm>
#include <iterator>
#include <map>

// Younger than libseccomp 2.5.
#ifndef __NR_map_shadow_stack
#define __NR_map_shadow_stack 453
#endif
#ifndef __SNR_map_shadow_stack
#define __SNR_map_shadow_stack __NR_map_shadow_stack
#endif

namespace penstock {
namespace {

#define PENSTOCK_SYSCALL(name, rule, why) {SCMP_SYS(name), SyscallRule::rule, #name},
constexpr SyscallRow COMPUTE[] = {
#include "pool/sandbox/syscalls_worker.def"
};
constexpr SyscallRow PROCESS[] = {
#include "pool/sandbox/syscalls_worker_process.def"
};
constexpr SyscallRow NETWORK[] = {
#include "pool/sandbox/syscalls_worker_network.def"
};
constexpr SyscallRow REFUSED[] = {
#include "pool/sandbox/syscalls_worker_refused.def"
};
#undef PENSTOCK_SYSCALL

static_assert(std::size(COMPUTE) <= 80, "the default profile is at most 80 system calls");

bool has(WorkerSyscalls profile, WorkerSyscalls part) {
  return (static_cast<unsigned>(profile) & static_cast<unsigned>(part)) != 0;
}

// By number: a later table replaces the rule of an earlier one.
std::map<int, SyscallRow> allowed_rows(WorkerSyscalls profile) {
  std::map<int, SyscallRow> rows;
  for (const SyscallRow& row : COMPUTE) rows.insert_or_assign(row.number, row);
  if (has(profile, WorkerSyscalls::PROCESS)) {
    for (const SyscallRow& row : PROCESS) rows.insert_or_assign(row.number, row);
  }
  if (has(profile, WorkerSyscalls::NETWORK)) {
    for (const SyscallRow& row : NETWORK) rows.insert_or_assign(row.number, row);
  }
  return rows;
}

}  // namespace

size_t worker_syscall_count(WorkerSyscalls profile) { return allowed_rows(profile).size(); }

Status forbid_syscalls(const WorkerSandbox& sandbox, const ExecOnce& once, std::vector<SandboxStep>& steps) {
  auto filter = make_filter(SCMP_ACT_KILL_PROCESS);
  if (!filter) return std::unexpected(filter.error());
  std::map<int, SyscallRow> allowed = allowed_rows(sandbox.syscalls);
  const size_t count = allowed.size();
  for (const SyscallRow& row : REFUSED) allowed.try_emplace(row.number, row);
  std::vector<SyscallRow> rows;
  for (const auto& [number, row] : allowed) rows.push_back(row);
  const SyscallContext context{.exec_path = once.path_address(),
                               .exec_arguments = once.arguments_address(),
                               .exec_environment = once.environment_address(),
                               .unix_sockets = sandbox.network != WorkerNetwork::NONE,
                               .internet_sockets = sandbox.network == WorkerNetwork::CLIENT};
  if (Status ok = add_rows(*filter, rows, context); !ok) return ok;
  const Result<bool> loaded = load_filter(*filter);
  if (!loaded) return std::unexpected(loaded.error());
  steps.push_back({"seccomp", *loaded,
                   *loaded ? std::to_string(count) + " system calls, a few answered by an errno, else it is killed"
                           : "the kernel is built without seccomp filters"});
  return {};
}

}  // namespace penstock
