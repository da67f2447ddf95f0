#include "pool/queue/worker_choice.h"

namespace penstock {
namespace {

bool has_room(const WorkerLoad& worker) { return worker.takes && worker.inside < worker.capacity; }

// Whether `a` has a smaller part of its capacity in use, without dividing.
bool less_loaded(const WorkerLoad& a, const WorkerLoad& b) {
  return uint64_t{a.inside} * b.capacity < uint64_t{b.inside} * a.capacity;
}

}  // namespace

std::optional<uint32_t> choose_worker(std::span<const WorkerLoad> workers, const WorkerWanted& wanted) {
  const auto count = static_cast<uint32_t>(workers.size());
  if (wanted.policy == WorkerPolicy::STICKY && wanted.sticky != 0) {
    for (uint32_t i = 0; i < count; ++i) {
      if (workers[i].number != wanted.sticky || !workers[i].takes) continue;
      return has_room(workers[i]) ? std::optional(i) : std::nullopt;
    }
  }
  std::optional<uint32_t> best;
  for (uint32_t step = 1; step <= count; ++step) {
    const uint32_t i = (wanted.after + step) % count;
    if (!has_room(workers[i])) continue;
    if (wanted.policy == WorkerPolicy::ROUND_ROBIN) return i;
    if (!best || less_loaded(workers[i], workers[*best])) best = i;
  }
  return best;
}

LostAnswer answer_lost(const LostRequest& request) {
  if (request.answer_begun) return LostAnswer::CUT;
  const bool again = request.idempotent && request.body_kept && request.tries < 2 && !request.harmful;
  return again ? LostAnswer::AGAIN : LostAnswer::BAD_GATEWAY;
}

}  // namespace penstock
