// The allow lists of workers as a seccomp filter: syscalls_worker.def, and what the profile puts on top.
#include "pool/sandbox/seccomp_rules.h"
#include "pool/sandbox/send_once.h"
#include "pool/sandbox/worker_steps.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <unistd.h>

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

constexpr int EXIT_LISTENER_LOST = 124;

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

namespace {

// The rows of the profile, and what is answered by an errno where these do not have it.
std::vector<SyscallRow> worker_rows(WorkerSyscalls profile, bool listener) {
  std::map<int, SyscallRow> by_number = allowed_rows(profile);
  for (const SyscallRow& row : REFUSED) by_number.try_emplace(row.number, row);
  // For nothing but the listener's way to the supervisor; a worker with sockets has sendmsg anyway.
  if (listener)
    by_number.try_emplace(SCMP_SYS(sendmsg), SyscallRow{SCMP_SYS(sendmsg), SyscallRule::SEND_ONCE, "sendmsg"});
  std::vector<SyscallRow> rows;
  for (const auto& [number, row] : by_number) rows.push_back(row);
  return rows;
}

SyscallContext context_of(const WorkerSandbox& sandbox, const ExecOnce& once) {
  return {.exec_path = once.path_address(),
          .exec_arguments = once.arguments_address(),
          .exec_environment = once.environment_address(),
          .unix_sockets = sandbox.network != WorkerNetwork::NONE,
          .internet_sockets = sandbox.network == WorkerNetwork::CLIENT};
}

// Error: the kernel gives no listener, and nothing is in force.
Status enter_with_listener(const WorkerSandbox& sandbox, const ExecOnce& once, int supervisor) {
  auto filter = make_filter(SCMP_ACT_NOTIFY);
  if (!filter) return std::unexpected(filter.error());
  const auto message = SendOnce::prepare(supervisor);
  if (!message) return std::unexpected(message.error());
  SyscallContext context = context_of(sandbox, once);
  context.listener = true;
  context.send_socket = static_cast<uint32_t>(message->socket());
  context.send_message = message->address();
  if (Status ok = add_rows(*filter, worker_rows(sandbox.syscalls, true), context); !ok) return ok;
  const auto listener = load_with_listener(*filter);
  if (!listener) return std::unexpected(listener.error());
  // Nobody would answer a call that waits, so there is no going on without it.
  if (const Status sent = message->send(listener->get()); !sent) ::_exit(EXIT_LISTENER_LOST);
  return {};
}

}  // namespace

Status forbid_syscalls(const WorkerSandbox& sandbox, const ExecOnce& once, int supervisor,
                       std::vector<SandboxStep>& steps) {
  const std::string count = std::to_string(worker_syscall_count(sandbox.syscalls)) + " system calls, ";
  if (sandbox.listener) {
    const Status entered = enter_with_listener(sandbox, once, supervisor);
    if (entered) {
      steps.push_back({"seccomp", true, count + "a few answered by an errno, else it is denied"});
      steps.push_back({"alarms", true, "the supervisor is asked at each denied call and each start of a program"});
      return {};
    }
    steps.push_back({"alarms", false,
                     entered.error().message + ": a denied call ends the process unseen, and of programs only Landlock "
                                               "decides"});
  }
  auto filter = make_filter(SCMP_ACT_KILL_PROCESS);
  if (!filter) return std::unexpected(filter.error());
  if (Status ok = add_rows(*filter, worker_rows(sandbox.syscalls, false), context_of(sandbox, once)); !ok) return ok;
  const Result<bool> loaded = load_filter(*filter);
  if (!loaded) return std::unexpected(loaded.error());
  steps.push_back({"seccomp", *loaded,
                   *loaded ? count + "a few answered by an errno, else it is killed"
                           : "the kernel is built without seccomp filters"});
  return {};
}

}  // namespace penstock
