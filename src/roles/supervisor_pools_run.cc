// What the pools' room does to processes: orders carried out, events of processes taken.
#include "pool/supervisor/process_memory.h"
#include "pool/supervisor/tree_signals.h"
#include "src/admin/core_place.h"
#include "src/admin/helper_process.h"
#include "src/admin/pool_messages.h"
#include "src/base/duration_text.h"
#include "src/roles/supervisor_pools.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

using Kind = PoolOrder::Kind;

constexpr size_t REQUESTS_LISTED = 64;            // of one worker, to the operator
constexpr Duration ACTION_TIMEOUT = seconds(60);  // of orphan.action
constexpr Duration KILLED_LOOK = seconds(1);
constexpr size_t ACTIONS_MAX = 64;
constexpr Duration RECLAIM_EVERY = milliseconds(20);
constexpr Duration RECLAIM_BUDGET = milliseconds(5);
constexpr int OVERRUN_EXIT = 70;  // PENSTOCK_EXIT_OVERRUN of pool/sdk/penstock_worker.h

}  // namespace

std::string Pools::core_of(const Pool& pool, const WorkerProcess& process, int signal) const {
  CoreOf of;
  of.pid = process.pid();
  of.signal = signal;
  if (pool.launch) {
    const auto& identity = pool.launch->sandbox.identity;
    of.uid = identity ? identity->uid : ::geteuid();
    of.gid = identity ? identity->gid : ::getegid();
    of.directory = pool.launch->directory;
    of.program = pool.launch->command.front();
  }
  return core_place(of);
}

// Carries out what the keeper wants until it wants nothing more.
void Pools::run(Pool& pool, MonoTime now) {
  for (auto orders = pool.keeper.take_orders(); !orders.empty(); orders = pool.keeper.take_orders()) {
    for (const PoolOrder& order : orders) obey(pool, order, now);
  }
  pool.deadline = pool.keeper.next_deadline(now);
}

void Pools::obey(Pool& pool, const PoolOrder& order, MonoTime now) {
  switch (order.kind) {
    case Kind::START:
      return start_worker(pool, order.worker, now);
    case Kind::GIVE:
      return tell_server(order.server, {MessageKind::WORKER, order.worker, {}});
    case Kind::RETIRE:
      return tell_server(order.server,
                         {MessageKind::WORKER_RETIRE, order.worker, encode_notice({order.worker, order.text, false})});
    case Kind::GONE: {
      note_frozen(order.worker, order.text, now);  // the server lets go of the requests when it reads this
      const auto process = processes_.find(order.worker);
      const bool intruded = process != processes_.end() && process->second.intruded;
      return tell_server(order.server,
                         {MessageKind::WORKER_GONE, order.worker, encode_notice({order.worker, order.text, intruded})});
    }
    case Kind::SIGNAL:
      return signal_worker(order.worker, order.signal);
    case Kind::FREEZE:
      return signal_all_of(order.worker, SIGSTOP);
    case Kind::THAW:
      end_reclaim(order.worker);
      return signal_all_of(order.worker, SIGCONT);
    case Kind::RECLAIM:
      return begin_reclaim(order.worker, now);
    case Kind::SUSPEND:
      return tell_server(order.server,
                         {MessageKind::WORKER_SUSPEND, order.worker, encode_notice({order.worker, order.text, false})});
    case Kind::RESUME:
      return tell_server(order.server,
                         {MessageKind::WORKER_RESUME, order.worker, encode_notice({order.worker, order.text, false})});
    case Kind::ACT:
      return act(pool, order, now);
    case Kind::STATE: {
      const PoolState state = {static_cast<PoolState::Kind>(pool.keeper.state()), pool.name, order.text};
      for (const auto& [epoch, outbox] : outboxes_) {
        tell_server(epoch, {MessageKind::POOL_STATE, 0, encode_pool_state(state)});
      }
      return;
    }
    case Kind::LOG:
      return log_event(pool, order, now);
  }
}

// Missing directories are made; one that exists is the operator's, and only has to be one.
Status Pools::make_state_directory(const Pool& pool) const {
  const std::string& path = pool.state_directory;
  if (path.empty()) return {};
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST) return {};
    return fail_errno("make the state directory " + path);
  }
  const auto& identity = pool.launch->sandbox.identity;
  if (!identity) return {};
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid() || ::fchown(fd.get(), identity->uid, identity->gid) != 0) {
    return fail_errno("give the state directory " + path + " to its pool");
  }
  return {};
}

// What runs in the worker itself, where the pool lists its programs by their sums: the program, or the object that
// penstock-native loads. What other runtimes start is judged when they do.
Status Pools::check_program(Pool& pool, uint64_t number, MonoTime now) {
  const bool native = pool.settings.runtime == RuntimeSetting::NATIVE;
  if (!native && pool.settings.runtime != RuntimeSetting::EXTERNAL) return {};
  const std::vector<std::string>& command = pool.launch->command;
  const size_t place = native ? 1 : 0;
  if (command.size() <= place) return {};
  const Status good = pool.hashes.check(command[place]);
  if (good) return {};
  Alarm alarm;
  alarm.kind = AlarmKind::PROGRAM;
  alarm.pool = pool.name;
  alarm.worker = number;
  alarm.what = command[place];
  alarm.detail = good.error().message;
  alarm.action = "the worker was not started";
  world_.alarms.raise(std::move(alarm), now);
  return fail(command[place] + ": " + good.error().message);
}

void Pools::start_worker(Pool& pool, uint64_t number, MonoTime now) {
  if (!pool.launch) return pool.keeper.start_failed(number, pool.launch.error().message, now);
  if (const Status ok = make_state_directory(pool); !ok) {
    return pool.keeper.start_failed(number, ok.error().message, now);
  }
  if (const Status ok = check_program(pool, number, now); !ok) {
    return pool.keeper.start_failed(number, ok.error().message, now);
  }
  WorkerLaunch launch = *pool.launch;
  launch.worker = number;
  auto started = PoolProcess::start(world_.executable, std::move(launch), pool.shape, now);
  if (!started) return pool.keeper.start_failed(number, started.error().message, now);
  started->memory_kills = cgroups_ ? cgroups_->memory_kills(pool.name) : 0;
  Process& process = processes_.emplace(number, Process{&pool, std::move(*started)}).first->second;
  WorkerProcess& worker = process.worker.process;
  if (cgroups_) {
    if (const Status ok = cgroups_->add(pool.name, worker.pid()); !ok) {
      world_.log.warn(who(pool, number) + "runs outside of its cgroup: " + ok.error().message);
    }
  }
  const uint64_t token = world_.worker_token | static_cast<uint32_t>(number);
  Status ok = world_.loop.watch(worker.pidfd(), token);
  if (ok) ok = world_.loop.watch(worker.output_fd(), token);
  process.worker.output_watched = ok.has_value();
  if (ok) ok = world_.loop.watch(worker.report_fd(), token);
  process.worker.report_watched = ok.has_value();
  if (!ok) {
    worker.kill_and_wait();
    processes_.erase(number);
    return pool.keeper.start_failed(number, ok.error().message, now);
  }
  if (look_at_ == MonoTime::never()) look_at_ = now;
  process.programs = ProgramList::of(pool.launch->sandbox.execute_paths);
  process.syscalls = pool.launch->sandbox.syscalls;
  const auto& identity = pool.launch->sandbox.identity;
  ProgramRecord record;
  record.pool = pool.name;
  record.worker = number;
  record.pid = worker.pid();
  record.parent = ::getpid();
  record.uid = identity ? identity->uid : ::geteuid();
  record.path = record.asked = pool.launch->command.front();
  process.program = world_.alarms.program_started(std::move(record), UniqueFd(), now);
  pool.keeper.spawned(number, now);
}

void Pools::signal_worker(uint64_t worker, int number) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  it->second.worker.killed_by_us |= number == SIGKILL;
  it->second.worker.process.signal(number);
}

// The worker first, so that it starts nothing more; then what has left its process group.
void Pools::signal_all_of(uint64_t worker, int number) {
  signal_worker(worker, number);
  const auto it = processes_.find(worker);
  if (it != processes_.end()) signal_descendants(it->second.worker.process.roots(), number);
}

// A little at a time, so that a need elsewhere does not wait.
void Pools::begin_reclaim(uint64_t number, MonoTime now) {
  const auto it = processes_.find(number);
  if (it == processes_.end()) return;
  const pid_t pid = it->second.worker.process.pid();
  it->second.memory_before = tree_resident_bytes(pid).value_or(0);
  it->second.reclaim.emplace(pid);
  it->second.reclaim_again = now + RECLAIM_EVERY;  // its threads have come to a halt by then
}

void Pools::end_reclaim(uint64_t number) {
  const auto it = processes_.find(number);
  if (it == processes_.end()) return;
  it->second.reclaim.reset();
  it->second.reclaim_again = MonoTime::never();
}

void Pools::go_on_reclaiming(uint64_t number, Process& process, MonoTime now) {
  process.reclaim_again = now + RECLAIM_EVERY;
  if (!process.reclaim->step(world_.clock, RECLAIM_BUDGET)) return;
  const uint64_t after = tree_resident_bytes(process.worker.process.pid()).value_or(0);
  const auto kib = [](uint64_t bytes) { return std::to_string(bytes >> 10); };
  std::string text = "has " + kib(after) + " KiB of memory left, of " + kib(process.memory_before);
  if (after > 0 && !process.reclaim->problem().empty()) text += " (" + process.reclaim->problem() + ")";
  world_.log.note(who(*process.pool, number) + text);
  end_reclaim(number);
}

// --- what the operator reads ----------------------------------------------------------------------

std::string Pools::who(const Pool& pool, uint64_t worker) const {
  std::string out = "pool " + pool.name;
  if (worker == 0) return out + ": ";
  out += " worker " + std::to_string(worker);
  const auto it = processes_.find(worker);
  if (it != processes_.end()) out += " (pid " + std::to_string(it->second.worker.process.pid()) + ")";
  return out + ": ";
}

void Pools::log_event(const Pool& pool, const PoolOrder& order, MonoTime now) {
  std::string text = who(pool, order.worker) + order.text;
  if (!order.serials.empty()) {
    text += "; requests inside:";
    for (const uint64_t serial : order.serials) text += " " + std::to_string(serial);
  }
  switch (order.severity) {
    case PoolOrder::Severity::NOTICE:
      return world_.log.note(text);
    case PoolOrder::Severity::WARNING:
      world_.log.warn(text);
      break;
    case PoolOrder::Severity::ERROR:
      world_.log.error(text);
      break;
  }
  if (order.worker == 0) return;
  const std::vector<InFlightRequest> inside = requests_inside(order.worker);
  for (size_t i = 0; i < inside.size() && i < REQUESTS_LISTED; ++i) {
    const InFlightRequest& request = inside[i];
    world_.log.error(who(pool, order.worker) + "inside: client " + address_text(request.client) + " for " +
                     duration_text(now - request.begin) + " " + request.method + " " +
                     escape_line(request.target, 500) + " host " + request.host + " connection " +
                     std::to_string(request.connection) + " number " + std::to_string(request.request_number));
  }
  if (inside.size() > REQUESTS_LISTED) {
    world_.log.error(who(pool, order.worker) + "and " + std::to_string(inside.size() - REQUESTS_LISTED) + " more");
  }
}

// --- orphan.action --------------------------------------------------------------------------------

// PROGRAM PID POOL WORKER [REQUEST…], without our descriptors and variables; its end is awaited, but not for long. A
// request is named as access logs name it: by connection and number.
void Pools::act(Pool& pool, const PoolOrder& order, MonoTime now) {
  const std::string& program = pool.settings.orphan_action;
  const auto process = processes_.find(order.worker);
  if (program.empty() || process == processes_.end()) return;
  const std::string what = who(pool, order.worker) + "orphan.action " + program;
  if (actions_.size() >= ACTIONS_MAX) return world_.log.error(what + " was not run: too many are running");
  std::vector<std::string> words = {program, std::to_string(process->second.worker.process.pid()), pool.name,
                                    std::to_string(order.worker)};
  for (const InFlightRequest& request : requests_inside(order.worker)) {
    if (words.size() < 4 + REQUESTS_LISTED) {
      words.push_back(std::to_string(request.connection) + "-" + std::to_string(request.request_number));
    }
  }
  auto started = HelperProcess::start(program, std::move(words), {HELPER_PATH}, -1);
  if (!started) return world_.log.error(what + ": " + started.error().message);
  Action action{std::move(*started), now + ACTION_TIMEOUT, what};
  const auto pid = static_cast<uint32_t>(action.process.pid());
  if (!world_.loop.watch(action.process.pidfd(), world_.action_token | pid)) {
    action.deadline = now;  // it cannot be watched: ended at the next turn
  }
  world_.log.note(what + " runs as pid " + std::to_string(pid));
  actions_.push_back(std::move(action));
}

void Pools::action_event(uint32_t pid, MonoTime) {
  const auto it = std::find_if(actions_.begin(), actions_.end(),
                               [&](const Action& one) { return static_cast<uint32_t>(one.process.pid()) == pid; });
  if (it == actions_.end()) return;
  const auto end = it->process.reap();
  if (!end) return;
  if (!end->clean) world_.log.warn(it->what + " failed: it " + end->text());
  world_.loop.unwatch(it->process.pidfd());
  actions_.erase(it);
}

void Pools::end_slow_actions(MonoTime now) {
  for (size_t i = 0; i < actions_.size();) {
    Action& action = actions_[i];
    if (action.deadline > now) {
      ++i;
      continue;
    }
    if (!std::exchange(action.killed, true)) {
      world_.log.error(action.what + " had not ended in " + duration_text(ACTION_TIMEOUT) + " and is killed");
    }
    action.process.kill();  // not waited for: it may hang in the kernel
    action.deadline = now + KILLED_LOOK;
    if (!action.process.reap()) {
      ++i;
      continue;
    }
    world_.loop.unwatch(action.process.pidfd());
    actions_.erase(actions_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

// --- events of processes --------------------------------------------------------------------------

void Pools::worker_event(uint32_t number, MonoTime now) {
  const auto it = processes_.find(number);
  if (it == processes_.end()) return;
  if (it->second.worker.report_watched) read_report(number, it->second);
  if (it->second.worker.output_watched) read_output(number, it->second, now);
  reap(number, now);
}

void Pools::read_report(uint64_t number, Process& process) {
  const auto report = process.worker.process.take_report();
  if (!report) return;
  world_.loop.unwatch(process.worker.process.report_fd());
  process.worker.report_watched = false;
  if (!*report) {
    process.worker.start_problem = report->error().message;
    return;
  }
  process.listener = process.worker.process.take_listener();
  process.sandbox = **report;
  process.pool->alarm_problem.clear();
  for (const SandboxStep& step : process.sandbox.steps) {
    if (step.name == "alarms" && !step.holds) process.pool->alarm_problem = step.detail;
  }
  listen(number, process);
}

// One that prints faster than a round's share is not listened to until the next round, and waits.
void Pools::read_output(uint64_t number, Process& process, MonoTime now) {
  PoolProcess& worker = process.worker;
  if (!worker.output_open) return;
  const int fd = worker.process.output_fd();
  const auto state = worker.output.read(fd, who(*process.pool, number), world_.log, now);
  const bool listen = state == OutputRelay::State::WAITING;
  worker.output_again = state == OutputRelay::State::MORE ? now + OutputRelay::ROUND : MonoTime::never();
  if (listen && !worker.output_watched) {
    worker.output_watched = world_.loop.watch(fd, world_.worker_token | static_cast<uint32_t>(number)).has_value();
  } else if (!listen && worker.output_watched) {
    world_.loop.unwatch(fd);
    worker.output_watched = false;
  }
  if (state == OutputRelay::State::CLOSED) worker.output_open = false;
}

void Pools::reap(uint64_t number, MonoTime now) {
  const auto it = processes_.find(number);
  PoolProcess& worker = it->second.worker;
  Pool& pool = *it->second.pool;
  const auto exit = worker.process.reap();
  if (!exit) return;
  if (worker.report_watched) read_report(number, it->second);
  stop_listening(it->second);
  read_output(number, it->second, now);  // its last words
  worker.output.finish(who(pool, number), world_.log);
  for (const auto& [watched, fd] :
       {std::pair(worker.report_watched, worker.process.report_fd()),
        std::pair(worker.output_watched, worker.process.output_fd()), std::pair(true, worker.process.pidfd())}) {
    if (watched) world_.loop.unwatch(fd);
  }
  WorkerEnd end = {exit->clean, exit->text(), exit->signal == 0 && exit->code == OVERRUN_EXIT};
  if (!worker.start_problem.empty()) end.text = "could not become a worker (" + worker.start_problem + ")";
  const uint64_t kills = cgroups_ ? cgroups_->memory_kills(pool.name) : 0;
  const bool out_of_memory = exit->signal == SIGKILL && !worker.killed_by_us && kills > worker.memory_kills;
  if (out_of_memory) end.text += " (the pool has reached its memory_max)";
  if (exit->core) end.text += " (its core is " + core_of(pool, worker.process, exit->signal) + ")";
  const auto known = pool.keeper.workers().find(number);
  const bool expected = known != pool.keeper.workers().end() && !known->second.end_cause.empty();
  if (!expected) pool.last_failure = "worker " + std::to_string(number) + " " + end.text;
  world_.alarms.program_ended(it->second.program, exit->text(), now);
  if (exit->signal == SIGSYS) {
    it->second.intruded = true;
    book_unseen(number, it->second, now);
  }
  note_end(number, it->second, *exit, end.text, out_of_memory, now);
  pool.keeper.ended(number, end, now);
  run(pool, now);  // says it, while who() still knows the process id
  processes_.erase(number);
  if (!pool.configured && pool.keeper.empty()) {
    if (cgroups_) cgroups_->remove(pool.name);
    pools_.erase(pool.name);
  }
}

}  // namespace penstock
