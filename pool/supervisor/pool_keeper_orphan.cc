// Workers that are kept for inspection, and those that tried what they must not.
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

bool PoolKeeper::room_for_orphan() const {
  const auto orphans = std::count_if(workers_.begin(), workers_.end(),
                                     [](const auto& one) { return one.second.state == WorkerState::FROZEN; });
  return wanted() && static_cast<uint32_t>(orphans) < rules_.orphan_max;
}

void PoolKeeper::freeze(uint64_t number, Worker& worker, const std::string& how, const std::string& cause,
                        MonoTime now) {
  unlink(worker);
  say(Severity::ERROR, number, how + ": frozen and kept for " + duration_text(rules_.orphan_ttl), worker.serials);
  order(Kind::FREEZE, number);
  order(Kind::ACT, number);  // while its server still holds what is inside
  if (std::exchange(worker.given, false)) order(Kind::GONE, number, how + ", and was frozen");
  worker.state = WorkerState::FROZEN;
  worker.deadline = now + rules_.orphan_ttl;
  worker.end_cause = cause + ", and was kept for inspection";
}

bool PoolKeeper::intruded(uint64_t number, const std::string& how, bool wanted_frozen, MonoTime now) {
  Worker* worker = find(number);
  if (worker == nullptr) return false;
  if (worker->state == WorkerState::KILLED || worker->state == WorkerState::FROZEN) return true;
  owe(*worker);
  if (wanted_frozen && room_for_orphan()) {
    freeze(number, *worker, how, "it " + how, now);
  } else {
    say(Severity::ERROR, number, how + " and is killed");
    kill(number, *worker, "it " + how);
  }
  failed(*worker, now);
  settle(now);
  return true;
}

}  // namespace penstock
