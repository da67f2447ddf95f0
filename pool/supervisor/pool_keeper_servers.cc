// What PoolKeeper hears from servers: who has its workers, which are ready, which are sick.
#include "pool/supervisor/pool_keeper.h"
#include "src/base/duration_text.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

using Kind = PoolOrder::Kind;
using Severity = PoolOrder::Severity;
using WorkerState = PoolKeeper::WorkerState;

// It sleeps, or is about to.
bool is_suspended(WorkerState state) { return state == WorkerState::SUSPENDING || state == WorkerState::SUSPENDED; }

}  // namespace

// The current server gets it: a new process, or one that worked for a server that died.
void PoolKeeper::take_up(uint64_t number, Worker& worker, MonoTime now) {
  worker.server = server_;
  worker.deadline = now + rules_.start_timeout;
  if (!worker.spawned) return;
  if (worker.state == WorkerState::READY) worker.state = WorkerState::STARTING;
  worker.served_before = worker.served;
  worker.inside = 0;
  worker.given = true;
  order(Kind::GIVE, number);
}

void PoolKeeper::server_ready(uint32_t epoch, MonoTime now) {
  const uint32_t old = std::exchange(server_, epoch);
  uint32_t busy = 0;
  for (auto& [number, worker] : workers_) {
    const bool lives = worker.state == WorkerState::STARTING || worker.state == WorkerState::READY;
    if (worker.server == 0 && lives) take_up(number, worker, now);
    if (old == 0 || worker.server != old || worker.state != WorkerState::READY) continue;
    if (worker.inside > 0 || now - worker.idle_since < BUSY_LATELY) ++busy;
  }
  if (in_service()) owed_ = std::min(std::max(owed_, busy), workers_most());
  if (state() != State::SERVING && !removed_) order(Kind::STATE, 0, state_cause_);
  settle(now);
}

void PoolKeeper::server_gone(uint32_t epoch, MonoTime now) {
  const bool current = epoch == server_;
  if (current) server_ = 0;
  for (auto& [number, worker] : workers_) {
    if (worker.server != epoch) continue;
    worker.given = false;
    if (current && worker.state == WorkerState::SUSPENDING) worker.state = WorkerState::READY;  // it never slept
    const bool sleeps = is_suspended(worker.state);
    const bool lives = worker.state == WorkerState::STARTING || worker.state == WorkerState::READY;
    if (current && lives) {  // its replacement takes it over
      worker.server = 0;
      worker.deadline = MonoTime::never();
    } else if (current && sleeps) {  // a need will have it taken over
      worker.server = 0;
    } else if (lives || sleeps || worker.state == WorkerState::RETIRING) {
      terminate(number, worker, "its server has ended", TERM_GRACE, now);
    }
  }
  settle(now);
}

void PoolKeeper::spawned(uint64_t number, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr) return;
  worker->spawned = true;
  if (worker->server != 0) {
    worker->given = true;
    order(Kind::GIVE, number);
  }
  settle(now);
}

void PoolKeeper::warming(uint64_t number, const std::string& what) {
  Worker* worker = find(number);
  if (worker != nullptr && worker->state == WorkerState::STARTING) worker->doing = what;
}

void PoolKeeper::cold(uint64_t number, const std::string& why, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr || worker->state != WorkerState::STARTING || !worker->given) return;
  const std::string cause = "its warm-up failed: " + why;
  say(Severity::ERROR, number, "is killed: " + cause);
  kill(number, *worker, cause);
  failed(*worker, now);
  settle(now);
}

void PoolKeeper::ready(uint64_t number, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr || worker->state != WorkerState::STARTING || !worker->given) return;
  const bool again = worker->ready_at.ns != 0;
  worker->state = WorkerState::READY;
  worker->deadline = MonoTime::never();
  worker->doing.clear();
  worker->ready_at = now;
  worker->idle_since = now;
  say(Severity::NOTICE, number,
      again ? "is ready again, for the server that took over"
            : "is ready after " + duration_text(now - worker->started) + ": " + worker->cause);
  if (Worker* predecessor = find(worker->predecessor)) {
    const uint64_t old = worker->predecessor;
    ++recycled_total_;
    retire(old, *predecessor, predecessor->recycle_cause, now);
  }
  if (circuit_ == Circuit::OPEN && wanted()) {
    circuit_ = Circuit::TRIAL;
    tell_state("one worker is on trial");
  }
  settle(now);
}

void PoolKeeper::idle(uint64_t number, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr || worker->state != WorkerState::RETIRING) return;
  worker->empty = true;
  worker->inside = 0;
  worker->deadline = std::min(worker->deadline, now + LEAVE_GRACE);
  settle(now);
}

void PoolKeeper::load(uint64_t number, uint64_t served, uint32_t inside, Duration idle, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr) return;
  worker->served = worker->served_before + served;
  worker->inside = inside;
  worker->idle_since = inside > 0 ? now : now - std::clamp(idle, Duration{}, now - worker->started);
  worker->idle_since = std::max(worker->idle_since, worker->woken_at);  // a load may be older than that
  if (is_suspended(worker->state) && worker->given && inside > 0)
    resume(number, *worker, "a request came before its server knew", now);
  if (circuit_ == Circuit::TRIAL && served > 0 && worker->state == WorkerState::READY) {
    circuit_ = Circuit::CLOSED;
    record_.forget();
    tell_state("the worker on trial has served");
  }
  settle(now);
}

void PoolKeeper::broke(uint64_t number, const std::string& how, std::vector<uint64_t> serials, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr || worker->state == WorkerState::KILLED || worker->state == WorkerState::FROZEN) return;
  say(Severity::ERROR, number, "broke the protocol (" + how + ") and is killed");
  worker->serials = std::move(serials);
  owe(*worker);
  kill(number, *worker, "it broke the protocol (" + how + ")");
  failed(*worker, now);
  settle(now);
}

void PoolKeeper::overdue(uint64_t number, std::vector<uint64_t> serials, MonoTime now, const std::string& what) {
  Worker* worker = find(number);
  if (worker == nullptr || worker->state == WorkerState::KILLED || worker->state == WorkerState::FROZEN) return;
  if (worker->state == WorkerState::ENDING) {
    worker->deadline = std::min(worker->deadline, now + OVERDUE_GRACE);
    return settle(now);
  }
  const std::string which = what.empty() ? "" : ": " + what;
  say(Severity::WARNING, number, "has a request that takes longer than request_timeout, and is ended" + which);
  worker->serials = std::move(serials);
  owe(*worker);
  terminate(number, *worker, "a request took longer than request_timeout" + which, OVERDUE_GRACE, now);
  settle(now);
}

void PoolKeeper::silent(uint64_t number, std::vector<uint64_t> serials, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr || worker->state == WorkerState::KILLED || worker->state == WorkerState::FROZEN) return;
  owe(*worker);
  worker->serials = std::move(serials);
  if (rules_.orphan_enable && room_for_orphan()) {
    freeze(number, *worker, "does not answer", "it did not answer", now);
  } else {
    say(Severity::ERROR, number, "does not answer and is killed");
    kill(number, *worker, "it did not answer");
  }
  failed(*worker, now);
  settle(now);
}

void PoolKeeper::memory_seen(uint64_t number, uint64_t bytes, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr) return;
  worker->memory = bytes;
  settle(now);
}

// Counted up to the end of a window, then anew: who is beyond the limit is found within the next one at the latest.
void PoolKeeper::cpu_seen(uint64_t number, Duration used, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr) return;
  worker->cpu = used - worker->cpu_before;
  settle(now);
  worker = find(number);
  if (worker == nullptr || now - worker->cpu_since < rules_.recycle_cpu_window) return;
  worker->cpu_since = now;
  worker->cpu_before = used;
  worker->cpu = {};
}

}  // namespace penstock
