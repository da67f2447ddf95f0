// Calls of workers that wait for an answer: starts of programs are booked, what the sandbox forbids is an alarm and is
// answered as pool.NAME.on_intrusion says.
//
// An intruder can try without end, and each try costs the supervisor some microseconds. So a worker has a share of
// CALLS_AT_ONCE in a turn of the loop, and one that has been denied DENIED_IN_ROUND calls waits for the next round. All
// its threads can only wait as well.
#include "src/admin/request_json.h"
#include "src/admin/role_process.h"
#include "src/roles/supervisor_pools.h"

#include <cerrno>
#include <csignal>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

using AttemptVerdict = WorkerAttempt::Verdict;

constexpr int CALLS_AT_ONCE = 64;
constexpr uint32_t DENIED_IN_ROUND = 32;
constexpr Duration INTRUSIONS_ROUND = milliseconds(100);

// The process that waits in the call. Invalid: it has gone, for it may be killed at any time by another of its worker,
// and its number be another's.
UniqueFd process_in(const SyscallListener& listener, const WaitingCall& call, pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (fd.valid() && !listener.waits(call)) fd.reset();
  return fd;
}

void signal_process(const UniqueFd& process, int number) {
  if (process.valid()) ::syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0);
}

Alarm alarm_of(const WorkerAttempt& attempt, const std::string& pool, uint64_t worker, std::string action) {
  Alarm alarm;
  alarm.kind = attempt.kind;
  alarm.pool = pool;
  alarm.worker = worker;
  alarm.pid = attempt.origin.process;
  alarm.uid = attempt.origin.uid;
  alarm.what = attempt.what;
  alarm.detail = attempt.detail;
  alarm.hint = attempt.hint;
  alarm.action = std::move(action);
  return alarm;
}

}  // namespace

void Pools::listen(uint64_t number, Process& process) {
  process.listen_again = MonoTime::never();
  if (!process.listener.open()) return;
  const uint64_t token = world_.listener_token | static_cast<uint32_t>(number);
  if (world_.loop.watch(process.listener.fd(), token)) return;
  process.listener.close();  // the kernel answers what waits: ENOSYS
  process.pool->alarm_problem = "the listener could not be watched: denied calls are refused unseen";
}

void Pools::stop_listening(Process& process) {
  if (!process.listener.open()) return;
  if (process.listen_again == MonoTime::never()) world_.loop.unwatch(process.listener.fd());
  process.listen_again = MonoTime::never();
  process.listener.close();
}

void Pools::listener_event(uint32_t number, MonoTime now) {
  const auto it = processes_.find(number);
  if (it == processes_.end() || !it->second.listener.open()) return;
  take_calls(number, it->second, now);
}

void Pools::take_calls(uint64_t number, Process& process, MonoTime now) {
  if (now - process.listened_at >= INTRUSIONS_ROUND) {
    process.listened_at = now;
    process.denied_in_round = 0;
  }
  for (int i = 0; i < CALLS_AT_ONCE; ++i) {
    const auto call = process.listener.next();
    if (!call) {
      if (i == 0 && process.listener.hung_up()) stop_listening(process);  // none of its processes is left
      return;
    }
    if (!take_call(number, process, *call, now)) return;
    if (process.denied_in_round < DENIED_IN_ROUND) continue;
    world_.loop.unwatch(process.listener.fd());
    process.listen_again = process.listened_at + INTRUSIONS_ROUND;
    return;
  }
}

// False: nothing more of this worker is to be looked at.
bool Pools::take_call(uint64_t number, Process& process, const WaitingCall& call, MonoTime now) {
  auto attempt = look_at_call(process.listener, call, process.programs, process.syscalls);
  if (!attempt) return true;
  for (const std::string& file : attempt->files) {
    const Status good = process.pool->hashes.check(file);
    if (good) continue;
    attempt->verdict = AttemptVerdict::DENIED;
    attempt->changed = true;
    attempt->detail = good.error().message;
    if (file != attempt->what) attempt->detail = file + ": " + attempt->detail;
    break;
  }
  switch (attempt->verdict) {
    case AttemptVerdict::PROGRAM:
      book_program(number, process, call, *attempt, now);
      process.listener.go_on(call);
      return true;
    case AttemptVerdict::NO_PROGRAM:
      process.listener.refuse(call, attempt->error);
      return true;
    case AttemptVerdict::DENIED:
      ++process.denied_in_round;
      answer_denied(number, process, call, *attempt, now);
      return processes_.contains(number) && process.listener.open();
  }
  return true;
}

void Pools::book_program(uint64_t number, const Process& process, const WaitingCall& call, const WorkerAttempt& attempt,
                         MonoTime now) {
  UniqueFd program = process_in(process.listener, call, attempt.origin.process);
  const bool followed = program.valid();
  if (!followed && !process.listener.waits(call)) return;
  ProgramRecord record;
  record.pool = process.pool->name;
  record.worker = number;
  record.pid = attempt.origin.process;
  record.parent = attempt.origin.parent;
  record.uid = attempt.origin.uid;
  record.path = attempt.what;
  record.asked = attempt.detail;
  record.inside = requests_inside(number);
  record.own_first = put_first(record.inside, attempt.hint);
  const uint64_t booked = world_.alarms.program_started(std::move(record), std::move(program), now);
  if (!followed) world_.alarms.program_ended(booked, "not followed: it could not be watched", now);
}

// What is inside the worker is read before it is let go of: the alarm comes before the answer, except where that ends
// something at once.
void Pools::answer_denied(uint64_t number, Process& process, const WaitingCall& call, const WorkerAttempt& attempt,
                          MonoTime now) {
  Pool& pool = *process.pool;
  const bool program = attempt.kind == AlarmKind::PROGRAM;
  const UniqueFd caller = process_in(process.listener, call, attempt.origin.process);
  const bool by_worker = attempt.origin.process == process.worker.process.pid();
  const std::string tried = program ? "tried to start " + attempt.what : "tried " + attempt.what;
  const auto told = [&](std::string action) {
    world_.alarms.raise(alarm_of(attempt, pool.name, number, std::move(action)), now);
  };
  if (world_.alarms.learning()) {
    told("refused by the sandbox");
    attempt.landlock_refuses && !attempt.changed ? process.listener.go_on(call) : process.listener.refuse(call, EPERM);
    return;
  }
  IntrusionSetting policy = pool.settings.on_intrusion;
  if (policy == IntrusionSetting::CONTAIN && attempt.landlock_refuses) {
    told("refused");
    process.listener.refuse(call, EACCES);
    return;
  }
  if (policy == IntrusionSetting::CONTAIN && !by_worker) {
    signal_process(caller, SIGKILL);
    return told("the program was killed");
  }
  if (policy == IntrusionSetting::CONTAIN) policy = IntrusionSetting::KILL;
  if (policy == IntrusionSetting::REFUSE) {
    told("refused");
    process.listener.refuse(call, EPERM);
    return;
  }
  const bool freeze = policy == IntrusionSetting::FREEZE;
  told(freeze ? "the worker is frozen" : "the worker is killed");
  process.report = DeathOrder::INTRUSION;
  process.intruded = true;
  if (freeze) {  // each stops before it sees an answer
    world_.alarms.signal_programs(number, SIGSTOP);
    signal_process(caller, SIGSTOP);
  } else {
    if (!by_worker) signal_process(caller, SIGKILL);
    world_.alarms.signal_programs(number, SIGKILL);
  }
  const bool known = pool.keeper.intruded(number, escape_line(tried, 500), freeze, now);
  run(pool, now);
  if (!known) process.worker.process.signal(SIGKILL);
  process.listener.refuse(call, EPERM);  // seen by nobody but the tracer of a frozen one
}

// A worker without a listener: that it was killed for a call is all that is known.
void Pools::book_unseen(uint64_t number, const Process& process, MonoTime now) {
  Alarm alarm;
  alarm.kind = AlarmKind::CALL;
  alarm.pool = process.pool->name;
  alarm.worker = number;
  alarm.pid = process.worker.process.pid();
  const auto& launch = process.pool->launch;
  alarm.uid = launch && launch->sandbox.identity ? launch->sandbox.identity->uid : ::geteuid();
  alarm.what = "a system call that the kernel log names";
  alarm.action = "the worker was killed";
  world_.alarms.raise(std::move(alarm), now);
}

std::vector<std::string> Pools::weaker() const {
  std::vector<std::string> out;
  if (const std::string lack = audit_lack(); !lack.empty()) out.push_back("alarms of denied files: " + lack);
  for (const auto& [name, pool] : pools_) {
    if (!pool->alarm_problem.empty()) out.push_back("alarms of pool " + name + ": " + pool->alarm_problem);
  }
  return out;
}

Json Pools::test_alarm(const std::string& name, MonoTime now) {
  for (const auto& [pool_name, pool] : pools_) {
    if (!pool->configured || (name.empty() ? !pool->launch.has_value() : pool_name != name)) continue;
    if (!pool->launch) return {{"ok", false}, {"error", pool->launch.error().message}};
    if (const Status made = make_state_directory(*pool); !made) return {{"ok", false}, {"error", made.error().message}};
    const auto test = world_.alarms.start_test(pool_name, *pool->launch, now);
    if (!test) return {{"ok", false}, {"error", test.error().message}};
    return world_.alarms.test_json(*test);
  }
  return {{"ok", false}, {"error", name.empty() ? "no pool can start workers" : "no pool is named '" + name + "'"}};
}

}  // namespace penstock
