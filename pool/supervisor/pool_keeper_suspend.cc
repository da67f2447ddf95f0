// Workers that are idle and kept: suspended, and woken when somebody asks.
#include "pool/supervisor/pool_keeper.h"
#include "src/base/duration_text.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

using Kind = PoolOrder::Kind;
using Severity = PoolOrder::Severity;
using WorkerState = PoolKeeper::WorkerState;

}  // namespace

// Could be woken for that server: its own, or nobody's since its server died.
bool PoolKeeper::sleeps_for(const Worker& worker, uint32_t server) const {
  if (worker.state == WorkerState::SUSPENDING) return worker.server == server;
  if (worker.state != WorkerState::SUSPENDED || server == 0) return false;
  return worker.server == server || (worker.server == 0 && server == server_);
}

uint32_t PoolKeeper::suspended(uint32_t server) const {
  return static_cast<uint32_t>(
      std::count_if(workers_.begin(), workers_.end(), [&](const auto& one) { return sleeps_for(one.second, server); }));
}

void PoolKeeper::suspend(uint64_t number, Worker& worker, MonoTime now) {
  worker.state = WorkerState::SUSPENDING;
  worker.deadline = now + REST_PATIENCE;
  order(Kind::SUSPEND, number, "idle for " + duration_text(now - worker.idle_since));
}

void PoolKeeper::rests(uint64_t number, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr || worker->state != WorkerState::SUSPENDING) return;  // it was woken meanwhile
  worker->state = WorkerState::SUSPENDED;
  worker->deadline = MonoTime::never();
  worker->suspended_at = now;
  order(Kind::FREEZE, number);
  order(Kind::RECLAIM, number);
  say(Severity::NOTICE, number, "is suspended: idle for " + duration_text(now - worker->idle_since));
  settle(now);
}

void PoolKeeper::resume(uint64_t number, Worker& worker, const std::string& cause, MonoTime now) {
  const bool slept = worker.state == WorkerState::SUSPENDED;
  worker.state = WorkerState::READY;
  worker.deadline = MonoTime::never();
  worker.woken_at = worker.idle_since = now;
  if (slept) {
    order(Kind::THAW, number);
    say(Severity::NOTICE, number, "is woken after " + duration_text(now - worker.suspended_at) + ": " + cause);
  }
  if (worker.server == 0) return take_up(number, worker, now);  // the current server has never seen it
  order(Kind::RESUME, number, cause);
}

// The one that slept last: its memory is the least gone. False: none sleeps.
bool PoolKeeper::wake_one(const std::string& cause, uint32_t server, MonoTime now) {
  uint64_t best = 0;
  MonoTime idle_since;
  for (const auto& [number, worker] : workers_) {
    if (!sleeps_for(worker, server) || (best != 0 && worker.idle_since < idle_since)) continue;
    best = number;
    idle_since = worker.idle_since;
  }
  if (best == 0) return false;
  resume(best, workers_[best], cause, now);
  return true;
}

// One more that serves: a suspended one, else a new one.
void PoolKeeper::add_worker(const std::string& cause, uint32_t server, MonoTime now) {
  if (!wake_one(cause, server, now)) start_worker(cause, server, 0, now);
}

// Those that are due to be replaced, that the settings want no more, and those for whom there is no room.
void PoolKeeper::end_suspended(MonoTime now) {
  uint32_t have = active(server_) + suspended(server_);
  for (auto& [number, worker] : workers_) {
    if (worker.state != WorkerState::SUSPENDED) continue;
    std::string cause = worker.recycle_cause;
    if (!cause.empty()) {
      ++recycled_total_;
    } else if (!rules_.idle_suspend) {
      cause = "idle workers are not suspended any more";
    } else if (sleeps_for(worker, server_) && have > workers_most()) {
      cause = "no more than " + std::to_string(workers_most()) + " workers are wanted";
    } else {
      continue;
    }
    if (sleeps_for(worker, server_)) --have;
    retire(number, worker, cause, now);
  }
}

}  // namespace penstock
