#include "src/admin/alarm_queue.h"

#include "src/base/assert.h"

#include <algorithm>
#include <utility>

namespace penstock {

bool AlarmQueue::add(Delivery delivery, MonoTime now) {
  if (waiting_.size() >= WAITING_MAX) {
    ++refused_;
    return false;
  }
  waiting_.push_back({std::move(delivery), now});
  return true;
}

std::optional<AlarmQueue::Delivery> AlarmQueue::next(MonoTime now) {
  if (running_ >= RUNNING_MAX) return std::nullopt;
  const auto it = std::ranges::find_if(waiting_, [&](const Waiting& one) { return one.due <= now; });
  if (it == waiting_.end()) return std::nullopt;
  Delivery delivery = std::move(it->delivery);
  waiting_.erase(it);
  ++delivery.tries;
  ++running_;
  return delivery;
}

AlarmQueue::Outcome AlarmQueue::done(Delivery delivery, bool succeeded, MonoTime now) {
  ASSERT(running_ > 0);
  --running_;
  if (succeeded) {
    ++told_;
    return Outcome::TOLD;
  }
  if (delivery.tries >= TRIES_MAX || waiting_.size() >= WAITING_MAX) {
    ++given_up_;
    return Outcome::GIVEN_UP;
  }
  Duration pause = FIRST_PAUSE;
  for (uint32_t i = 1; i < delivery.tries; ++i) pause = pause + pause;
  waiting_.push_back({std::move(delivery), now + pause});
  return Outcome::AGAIN;
}

MonoTime AlarmQueue::next_deadline() const {
  MonoTime next = MonoTime::never();
  if (running_ >= RUNNING_MAX) return next;
  for (const Waiting& one : waiting_) next = std::min(next, one.due);
  return next;
}

}  // namespace penstock
