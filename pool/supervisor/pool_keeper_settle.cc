// What PoolKeeper does by itself, whenever anything happened or a time has come: settle() and its parts.
#include "pool/supervisor/pool_keeper.h"
#include "src/base/duration_text.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

using Severity = PoolOrder::Severity;
using WorkerState = PoolKeeper::WorkerState;

constexpr uint32_t REPLACED_AT_ONCE = 4;  // a quarter of the workers is being replaced at a time

}  // namespace

void PoolKeeper::settle(MonoTime now) {
  expire(now);
  judge(now);
  replace(now);
  end_suspended(now);
  shrink(now);
  fill(now);
}

void PoolKeeper::expire(MonoTime now) {
  for (auto& [number, worker] : workers_) {
    if (worker.deadline <= now) expire_one(number, worker, now);
  }
}

void PoolKeeper::expire_one(uint64_t number, Worker& worker, MonoTime now) {
  switch (worker.state) {
    case WorkerState::STARTING: {
      std::string cause = "it was not ready in " + duration_text(rules_.start_timeout);
      if (!worker.doing.empty()) cause += ", in its warm-up: " + worker.doing;
      say(Severity::ERROR, number, "is killed: " + cause);
      owe(worker);
      kill(number, worker, cause);
      return failed(worker, now);
    }
    case WorkerState::RETIRING:
      say(Severity::WARNING, number,
          worker.empty ? "has nothing to do for anybody any more and does not leave: it is ended"
                       : "has not finished in " + duration_text(rules_.stop_timeout) + ": it is ended");
      return terminate(number, worker, worker.end_cause, TERM_GRACE, now);
    case WorkerState::ENDING:
      say(Severity::NOTICE, number, "has not heeded SIGTERM and is killed");
      return kill(number, worker, worker.end_cause);
    case WorkerState::FROZEN:
      return kill(number, worker, worker.end_cause);
    case WorkerState::SUSPENDING:
      return resume(number, worker, "its server has not said that it rests", now);
    case WorkerState::READY:
    case WorkerState::SUSPENDED:
    case WorkerState::KILLED:
      worker.deadline = MonoTime::never();
  }
}

// Why it is time to replace a worker, or "".
std::string PoolKeeper::due_recycle(const Worker& worker, MonoTime now) const {
  if (worker.version != version_) return "its settings have changed";
  if (rules_.recycle_time.ns > 0 && now - worker.started >= rules_.recycle_time) {
    return "recycled after " + duration_text(now - worker.started);
  }
  if (rules_.recycle_requests > 0 && worker.served >= rules_.recycle_requests) {
    return "recycled after " + std::to_string(worker.served) + " requests";
  }
  if (rules_.recycle_memory > 0 && worker.memory >= rules_.recycle_memory) {
    return "recycled at " + std::to_string(worker.memory >> 20) + " MiB of memory";
  }
  if (rules_.recycle_cpu > 0 && worker.cpu.ns >= rules_.recycle_cpu_window.ns / 100 * rules_.recycle_cpu) {
    return "recycled after " + duration_text(worker.cpu) + " of CPU time in " + duration_text(now - worker.cpu_since);
  }
  return {};
}

void PoolKeeper::judge(MonoTime now) {
  for (auto& [number, worker] : workers_) {
    const bool may = worker.state == WorkerState::READY || worker.state == WorkerState::SUSPENDED;
    if (may && worker.recycle_cause.empty()) {
      worker.recycle_cause = due_recycle(worker, now);
    }
  }
}

void PoolKeeper::replace(MonoTime now) {
  if (!in_service() || circuit_ != Circuit::CLOSED || server_ == 0) return;
  const uint32_t at_once = std::max(active(server_) / REPLACED_AT_ONCE, 1U);
  uint32_t under_way = replacements();
  std::vector<uint64_t> due;
  for (const auto& [number, worker] : workers_) {
    const bool ready = worker.state == WorkerState::READY && worker.server == server_ && worker.predecessor == 0;
    if (ready && !worker.recycle_cause.empty() && worker.successor == 0) due.push_back(number);
  }
  for (const uint64_t number : due) {
    if (under_way >= at_once) return;
    Worker& worker = workers_[number];
    if (!rules_.recycle_overlap) {
      worker.replaced_after = true;
      ++recycled_total_;
      retire(number, worker, worker.recycle_cause, now);
    } else if (now >= restart_at_) {
      const std::string cause = "in place of worker " + std::to_string(number) + ", " + worker.recycle_cause;
      const uint64_t successor = start_worker(cause, server_, number, now);
      workers_[number].successor = successor;
    } else {
      return;
    }
    ++under_way;
  }
}

// The worker of the current server that is missed least: one still starting, else the one longest idle; 0: none.
uint64_t PoolKeeper::least_needed() const {
  uint64_t best = 0;
  MonoTime idle_since = MonoTime::never();
  for (const auto& [number, worker] : workers_) {
    if (!takes_part(worker, server_)) continue;
    if (worker.state == WorkerState::STARTING) return number;
    if (worker.idle_since < idle_since) {
      best = number;
      idle_since = worker.idle_since;
    }
  }
  return best;
}

// When it may be stopped for want of work, if the pool can spare one; never() for one that is busy or being replaced.
MonoTime PoolKeeper::rests_at(const Worker& worker) const {
  const bool rests = rules_.idle_timeout.ns > 0 && worker.state == WorkerState::READY && worker.inside == 0 &&
                     worker.successor == 0 && takes_part(worker, server_);
  // One whose server has died cannot say that nothing is inside: its next one will.
  if (!rests || (rules_.idle_suspend && !worker.given)) return MonoTime::never();
  const MonoTime idle = worker.idle_since + idle_timeout();
  return rules_.idle_suspend ? std::max(idle, worker.woken_at + AWAKE_LEAST) : idle;
}

void PoolKeeper::shrink(MonoTime now) {
  if (!in_service()) return;
  uint32_t have = active(server_);
  for (; have > workers_most(); have = active(server_)) {
    const uint64_t number = least_needed();
    retire(number, workers_[number], "no more than " + std::to_string(workers_most()) + " workers are wanted", now);
  }
  for (auto& [number, worker] : workers_) {
    if (have <= workers_least()) return;
    if (rests_at(worker) > now) continue;
    if (rules_.idle_suspend && worker.recycle_cause.empty()) {
      suspend(number, worker, now);
    } else {
      retire(number, worker, "idle for " + duration_text(now - worker.idle_since), now);
    }
    --have;
  }
}

void PoolKeeper::fill(MonoTime now) {
  if (!wanted()) return;
  if (circuit_ == Circuit::OPEN) {
    if (now < probe_at_ || active(server_) > 0) return;
    probe_at_ = MonoTime::never();  // its failure sets the next
    start_worker("on trial", server_, 0, now);
    return;
  }
  uint32_t have = active(server_);
  if (have >= workers_most()) owed_ = 0;
  if (now < restart_at_) return;
  for (; have < workers_least(); ++have) {
    add_worker("workers_min is " + std::to_string(rules_.workers_min), server_, now);
    if (owed_ > 0) --owed_;
  }
  for (; owed_ > 0 && have < workers_most(); ++have, --owed_) {
    add_worker("in place of another", server_, now);
  }
}

MonoTime PoolKeeper::next_deadline(MonoTime now) const {
  MonoTime next = MonoTime::never();
  const uint32_t have = active(server_);
  bool recycling = false;
  for (const auto& [number, worker] : workers_) {
    next = std::min(next, worker.deadline);
    const bool ages = worker.state == WorkerState::SUSPENDED && worker.recycle_cause.empty();
    if (ages && rules_.recycle_time.ns > 0) next = std::min(next, worker.started + rules_.recycle_time);
    if (worker.state != WorkerState::READY) continue;
    if (worker.recycle_cause.empty()) {
      if (rules_.recycle_time.ns > 0) next = std::min(next, worker.started + rules_.recycle_time);
    } else if (worker.successor == 0) {
      recycling = true;
    }
    if (in_service() && have > workers_least()) next = std::min(next, rests_at(worker));
  }
  if (wanted() && circuit_ == Circuit::OPEN && have == 0) next = std::min(next, probe_at_);
  if (in_service() && restart_at_ > now && (recycling || owed_ > 0 || have < workers_least())) {
    next = std::min(next, restart_at_);
  }
  return std::max(next, now);
}

}  // namespace penstock
