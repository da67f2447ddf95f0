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

// IIS's dynamicIdleThreshold: how many parts idle_timeout has of which one is left.
uint32_t idle_part(uint32_t used, uint32_t threshold) {
  if (threshold == 0) return 1;
  constexpr uint32_t STEPS[] = {80, 85, 90, 95, 100};  // percent of the threshold
  uint32_t part = 1;
  for (const uint32_t step : STEPS) part *= used * 100 >= threshold * step ? 2 : 1;
  return part;
}

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

// idle_timeout, or less of it where the machine's memory is needed.
Duration PoolKeeper::idle_timeout() const {
  return rules_.idle_memory == 0 ? rules_.idle_timeout : Duration{rules_.idle_timeout.ns / idle_part_};
}

// Shorter at once, longer only when memory has come free for good: what is used rises and falls by what ends meanwhile.
void PoolKeeper::memory_used(uint32_t percent, MonoTime now) {
  constexpr uint32_t SLACK = 2;  // percent
  const uint32_t part = idle_part(percent, rules_.idle_memory);
  const uint32_t part_later = idle_part(percent + SLACK, rules_.idle_memory);
  const uint32_t before = idle_part_;
  idle_part_ = std::clamp(idle_part_, part, part_later);
  if (idle_part_ != before) {
    say(Severity::NOTICE, 0,
        "keeps idle workers for " + duration_text(idle_timeout()) + ": " + std::to_string(percent) +
            " % of memory is in use");
  }
  settle(now);
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
