// Invariants:
// - successor and predecessor name each other, the successor STARTING, the predecessor READY
//   (or STARTING again, where the server died meanwhile).
// - `deadline` belongs to the state: READY and KILLED have none, STARTING has none while no server can see it ready.
// - Every public function ends in settle(), which brings the pool to where it wants to be and is idle when it is there.
#include "pool/supervisor/pool_keeper.h"

#include "src/base/duration_text.h"

#include <algorithm>
#include <csignal>
#include <utility>

namespace penstock {
namespace {

using Kind = PoolOrder::Kind;
using Severity = PoolOrder::Severity;
using WorkerState = PoolKeeper::WorkerState;

constexpr Duration OVERRUN_EARLIEST = milliseconds(100);  // who says so sooner was never asked for so long
constexpr Duration SCALE_SERIES = seconds(2);             // a second need within it starts twice as many workers

std::string number_text(uint64_t number) { return std::to_string(number); }

// It is on its way out, or kept for inspection: nothing brings it back.
bool is_leaving(WorkerState state) {
  switch (state) {
    case WorkerState::STARTING:
    case WorkerState::READY:
    case WorkerState::SUSPENDING:
    case WorkerState::SUSPENDED:
      return false;
    default:
      return true;
  }
}

}  // namespace

const char* worker_state_name(PoolKeeper::WorkerState state) {
  static constexpr const char* NAMES[] = {"starting", "ready",  "retiring",   "ending",
                                          "killed",   "frozen", "suspending", "suspended"};
  return NAMES[static_cast<size_t>(state)];
}

const char* pool_state_name(PoolKeeper::State state) {
  static constexpr const char* NAMES[] = {"serving", "stopped", "failed"};
  return NAMES[static_cast<size_t>(state)];
}

PoolKeeper::State PoolKeeper::state() const {
  if (stopped_ || removed_) return State::STOPPED;
  return circuit_ == Circuit::OPEN ? State::FAILED : State::SERVING;
}

// --- counting ---------------------------------------------------------------------------------

PoolKeeper::Worker* PoolKeeper::find(uint64_t worker) {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? nullptr : &it->second;
}

uint32_t PoolKeeper::workers_least() const {
  switch (circuit_) {
    case Circuit::CLOSED:
      return rules_.workers_min;
    case Circuit::TRIAL:
      return std::min(rules_.workers_min, 1U);
    case Circuit::OPEN:
      return 0;
  }
  return 0;
}

// Takes requests of that server, or will: counts for workers_min and workers_max.
bool PoolKeeper::takes_part(const Worker& worker, uint32_t server) const {
  if (worker.state != WorkerState::STARTING && worker.state != WorkerState::READY) return false;
  if (worker.predecessor != 0) return false;
  return worker.server == server || (worker.server == 0 && server == server_);
}

uint32_t PoolKeeper::active(uint32_t server) const {
  return static_cast<uint32_t>(
      std::count_if(workers_.begin(), workers_.end(), [&](const auto& one) { return takes_part(one.second, server); }));
}

uint32_t PoolKeeper::starting(uint32_t server) const {
  return static_cast<uint32_t>(std::count_if(workers_.begin(), workers_.end(), [&](const auto& one) {
    return one.second.state == WorkerState::STARTING && takes_part(one.second, server);
  }));
}

uint32_t PoolKeeper::replacements() const {
  return static_cast<uint32_t>(std::count_if(workers_.begin(), workers_.end(), [](const auto& one) {
    return one.second.successor != 0 || one.second.replaced_after;
  }));
}

// --- orders -----------------------------------------------------------------------------------

std::vector<PoolOrder> PoolKeeper::take_orders() { return std::exchange(orders_, {}); }

void PoolKeeper::order(PoolOrder::Kind kind, uint64_t worker, std::string text) {
  PoolOrder out;
  out.kind = kind;
  out.worker = worker;
  if (const Worker* known = find(worker)) out.server = known->server;
  out.text = std::move(text);
  orders_.push_back(std::move(out));
}

void PoolKeeper::say(PoolOrder::Severity severity, uint64_t worker, std::string text, std::vector<uint64_t> serials) {
  order(Kind::LOG, worker, std::move(text));
  orders_.back().severity = severity;
  orders_.back().serials = std::move(serials);
}

void PoolKeeper::tell_state(const std::string& cause) {
  state_cause_ = cause;
  order(Kind::STATE, 0, cause);
  const char* what[] = {"is in service: ", "is stopped: ", "is out of service: "};
  say(state() == State::FAILED ? Severity::ERROR : Severity::NOTICE, 0, what[static_cast<size_t>(state())] + cause);
}

uint64_t PoolKeeper::start_worker(const std::string& cause, uint32_t server, uint64_t predecessor, MonoTime now) {
  const uint64_t number = numbers_.take();
  Worker& worker = workers_[number];
  worker.server = server;
  worker.version = version_;
  worker.started = now;
  worker.cpu_since = now;
  worker.idle_since = now;
  worker.predecessor = predecessor;
  worker.cause = cause;
  if (server != 0) worker.deadline = now + rules_.start_timeout;
  ++started_total_;
  order(Kind::START, number, cause);
  return number;
}

// --- ends -------------------------------------------------------------------------------------

// A replacement whose predecessor has gone is one like any other; a predecessor whose replacement failed gets another.
void PoolKeeper::unlink(Worker& worker) {
  if (Worker* successor = find(std::exchange(worker.successor, 0))) successor->predecessor = 0;
  if (Worker* predecessor = find(std::exchange(worker.predecessor, 0))) predecessor->successor = 0;
}

// Another one is to take the place of this one, unless that is under way.
void PoolKeeper::owe(const Worker& lost) {
  const bool served = lost.state == WorkerState::READY || lost.ready_at.ns != 0;
  if (in_service() && served && lost.successor == 0 && takes_part(lost, server_)) ++owed_;
}

void PoolKeeper::retire(uint64_t number, Worker& worker, const std::string& cause, MonoTime now) {
  if (worker.state == WorkerState::STARTING) return kill(number, worker, cause);
  if (!worker.given) return terminate(number, worker, cause, TERM_GRACE, now);
  if (worker.state == WorkerState::SUSPENDED) order(Kind::THAW, number);
  unlink(worker);
  worker.state = WorkerState::RETIRING;
  worker.deadline = now + rules_.stop_timeout;
  worker.end_cause = cause;
  order(Kind::RETIRE, number, cause);
  say(Severity::NOTICE, number, "gets no new requests: " + cause);
}

void PoolKeeper::terminate(uint64_t number, Worker& worker, const std::string& cause, Duration grace, MonoTime now) {
  unlink(worker);
  if (worker.given && worker.state != WorkerState::RETIRING) order(Kind::RETIRE, number, cause);
  if (worker.end_cause.empty()) worker.end_cause = cause;
  if (worker.state == WorkerState::SUSPENDED) order(Kind::THAW, number);
  worker.state = WorkerState::ENDING;
  worker.deadline = now + grace;
  order(Kind::SIGNAL, number);
  orders_.back().signal = SIGTERM;
}

void PoolKeeper::kill(uint64_t number, Worker& worker, const std::string& cause) {
  unlink(worker);
  const bool told = worker.state == WorkerState::RETIRING || worker.state == WorkerState::ENDING;
  if (worker.given && !told) order(Kind::RETIRE, number, cause);
  if (worker.end_cause.empty()) worker.end_cause = cause;
  worker.state = WorkerState::KILLED;
  worker.deadline = MonoTime::never();
  order(Kind::SIGNAL, number);
  orders_.back().signal = SIGKILL;
}

void PoolKeeper::leave_service(const std::string& cause, MonoTime now) {
  owed_ = 0;
  for (auto& [number, worker] : workers_) {
    if (!is_leaving(worker.state)) retire(number, worker, cause, now);
  }
}

void PoolKeeper::open_circuit(const std::string& cause, MonoTime now) {
  const bool news = circuit_ != Circuit::OPEN;
  circuit_ = Circuit::OPEN;
  probe_at_ = rules_.rapid_fail_probe.ns > 0 ? now + rules_.rapid_fail_probe : MonoTime::never();
  leave_service("the pool is out of service", now);
  if (news) tell_state(cause);
}

// Counts a failure, once for each worker.
void PoolKeeper::failed(Worker& worker, MonoTime now) {
  if (std::exchange(worker.failure_counted, true)) return;
  ++crashes_total_;
  const Duration pause = record_.failed(worker.started, now);
  restart_at_ = std::max(restart_at_, now + pause);
  if (!wanted()) return;
  if (circuit_ != Circuit::CLOSED) return open_circuit("the worker on trial failed", now);
  const uint32_t recent = record_.recent(now, rules_.rapid_fail_window);
  if (rules_.rapid_fail_enable && recent >= rules_.rapid_fail_crashes) {
    return open_circuit(number_text(recent) + " failures in " + duration_text(rules_.rapid_fail_window), now);
  }
  if (pause.ns > 0) {
    say(Severity::WARNING, 0, "failed " + number_text(recent) + " times lately: no start for " + duration_text(pause));
  }
}

void PoolKeeper::say_end(uint64_t number, const Worker& worker, const WorkerEnd& end, MonoTime now) {
  const std::string after = " after " + duration_text(now - worker.started);
  std::string text = end.text + after;
  Severity severity = Severity::NOTICE;
  switch (worker.state) {
    case WorkerState::STARTING:
      text += worker.ready_at.ns == 0 ? ", before it was ready (started: " + worker.cause + ")" : "";
      if (!worker.doing.empty()) text += ", in its warm-up: " + worker.doing;
      severity = Severity::ERROR;
      break;
    case WorkerState::READY:
      if (end.clean && worker.served > 0) {
        text += ": it left by itself";
      } else if (end.overran && now - worker.ready_at >= OVERRUN_EARLIEST) {
        text += ": requests that took longer than request_timeout held all that it had; it is replaced";
        severity = Severity::WARNING;
      } else {
        severity = Severity::ERROR;
      }
      break;
    case WorkerState::SUSPENDING:
    case WorkerState::SUSPENDED:
      text += ", while it was suspended";
      severity = Severity::ERROR;
      break;
    default:
      text += ": " + worker.end_cause;
      if (worker.state == WorkerState::RETIRING && !end.clean) severity = Severity::ERROR;
  }
  say(severity, number, std::move(text), worker.serials);
}

void PoolKeeper::ended(uint64_t number, const WorkerEnd& end, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr) return;
  say_end(number, *worker, end, now);
  if (worker->given) order(Kind::GONE, number, end.text);
  if (!is_leaving(worker->state)) {
    owe(*worker);
    worker->state = WorkerState::KILLED;
    // A load of its server may be a second old: what it served is not known yet where requests overran soon.
    const bool left = end.clean && worker->served > 0;
    const bool overran = end.overran && worker->ready_at.ns != 0 && now - worker->ready_at >= OVERRUN_EARLIEST;
    if (!left && !overran) failed(*worker, now);
  }
  if (worker->replaced_after && in_service()) ++owed_;
  unlink(*worker);
  workers_.erase(number);
  settle(now);
}

void PoolKeeper::start_failed(uint64_t number, const std::string& why, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr) return;
  say(Severity::ERROR, number, "could not be started: " + why);
  worker->state = WorkerState::KILLED;
  unlink(*worker);
  failed(*worker, now);
  workers_.erase(number);
  settle(now);
}

// --- what people want ---------------------------------------------------------------------------

void PoolKeeper::configure(PoolRules rules, MonoTime now) {
  const bool changed = rules.recipe != rules_.recipe;
  rules_ = std::move(rules);
  if (std::exchange(removed_, false) && state() != State::SERVING) order(Kind::STATE, 0, state_cause_);
  if (changed) {
    ++version_;
    restart_at_ = now;
    if (circuit_ == Circuit::OPEN) probe_at_ = now;  // it may be the cure
  }
  settle(now);
}

void PoolKeeper::remove(MonoTime now) {
  if (std::exchange(removed_, true)) return;
  leave_service("the pool is not in the configuration any more", now);
  settle(now);
}

void PoolKeeper::shut_down(MonoTime now) {
  down_ = true;
  for (auto& [number, worker] : workers_) {
    if (worker.state == WorkerState::FROZEN) kill(number, worker, "penstock stops");
    if (worker.state == WorkerState::KILLED || worker.state == WorkerState::ENDING) continue;
    terminate(number, worker, "penstock stops", TERM_GRACE, now);
  }
  settle(now);
}

void PoolKeeper::recycle(const std::string& cause, MonoTime now) {
  for (auto& [number, worker] : workers_) {
    if (!is_leaving(worker.state) && worker.recycle_cause.empty()) worker.recycle_cause = cause;
  }
  settle(now);
}

void PoolKeeper::start(MonoTime now) {
  const bool news = state() != State::SERVING || circuit_ != Circuit::CLOSED;
  stopped_ = false;
  circuit_ = Circuit::CLOSED;
  record_.forget();
  restart_at_ = now;
  if (news) tell_state("started by command");
  settle(now);
}

void PoolKeeper::stop(const std::string& cause, MonoTime now) {
  if (std::exchange(stopped_, true)) return;
  leave_service(cause, now);
  tell_state(cause);
  settle(now);
}

// Demand: the first worker at once, more when requests have waited for too long although all that were started serve.
void PoolKeeper::need(uint32_t epoch, uint32_t waiting, Duration oldest, MonoTime now) {
  settle(now);
  if (!in_service() || epoch == 0) return;
  const uint32_t have = active(epoch);
  const std::string waits = "a request waits";
  if (have == 0 && wake_one(waits, epoch, now)) return;  // no start: no back-off either
  if (now < restart_at_) return;
  if (have == 0) {
    start_worker(waits, epoch, 0, now);
  } else if (epoch == server_ && starting(epoch) == 0 && oldest >= rules_.scale_delay && have < workers_most()) {
    scale_step_ = now - scaled_at_ < SCALE_SERIES ? scale_step_ * 2 : 1;
    scaled_at_ = now;
    const uint32_t count = std::min({scale_step_, workers_most() - have, std::max(waiting, 1U)});
    const std::string cause = "a request has waited for " + duration_text(oldest);
    for (uint32_t i = 0; i < count; ++i) add_worker(cause, epoch, now);
  }
}

void PoolKeeper::tick(MonoTime now) { settle(now); }

}  // namespace penstock
