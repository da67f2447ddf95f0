// Invariants:
//  - A timer with due_tick d, tick_ < d < tick_ + 256, lies on level 0: so one that is armed for less than a second,
//    again and again, is never moved. A later one lies on the lowest level l for which d and tick_ agree in
//    all bits from (l+1)*8 upward. Its slot is (d >> l*8) & 255; so on each level the slot of tick_
//    itself is empty (its timers were cascaded down when tick_ entered it).
//  - occupied_ has a bit set for every slot that may hold timers (cleared when a slot is drained).

#include "src/base/timer_wheel.h"

#include "src/base/assert.h"

#include <bit>
#include <cstddef>

namespace penstock {
namespace {

void list_init(Timer& head) { head.prev = head.next = &head; }
bool list_empty(const Timer& head) { return head.next == &head; }

void list_push(Timer& head, Timer& timer) {
  timer.prev = head.prev;
  timer.next = &head;
  head.prev->next = &timer;
  head.prev = &timer;
}

// All of `from` behind what `head` has. No timer is looked at but the ends: with many connections each would be waited
// for.
void list_append(Timer& head, Timer& from) {
  if (list_empty(from)) return;
  from.next->prev = head.prev;
  head.prev->next = from.next;
  from.prev->next = &head;
  head.prev = from.prev;
  list_init(from);
}

void list_unlink(Timer& timer) {
  timer.prev->next = timer.next;
  timer.next->prev = timer.prev;
  timer.prev = timer.next = nullptr;
}

}  // namespace

TimerWheel::TimerWheel(MonoTime start) : start_(start) {
  list_init(expired_);
  for (auto& level : slots_) {
    for (Timer& head : level) list_init(head);
  }
}

void TimerWheel::arm(Timer& timer, MonoTime due) {
  if (timer.armed()) {
    list_unlink(timer);
  } else {
    ++armed_count_;
  }
  const int64_t since = due.ns > start_.ns ? due.ns - start_.ns : 0;
  timer.due_tick = since / TICK.ns + (since % TICK.ns != 0 ? 1 : 0);
  file(timer);
}

void TimerWheel::disarm(Timer& timer) {
  if (!timer.armed()) return;
  list_unlink(timer);
  --armed_count_;
}

void TimerWheel::file(Timer& timer) {
  if (timer.due_tick <= tick_) {
    list_push(expired_, timer);
    return;
  }
  const uint64_t differing = static_cast<uint64_t>(timer.due_tick ^ tick_);
  const int level = timer.due_tick - tick_ < SLOTS ? 0 : (63 - std::countl_zero(differing)) / SLOT_BITS;
  int at = level;
  if (level >= LEVELS) {
    at = LEVELS - 1;
    timer.due_tick = tick_ | ((int64_t{1} << (LEVELS * SLOT_BITS)) - 1);  // the horizon
  }
  const auto slot = static_cast<size_t>((timer.due_tick >> (at * SLOT_BITS)) & (SLOTS - 1));
  list_push(slots_[static_cast<size_t>(at)][slot], timer);
  occupied_[static_cast<size_t>(at)][slot / 64] |= uint64_t{1} << (slot % 64);
}

// Empties `level`'s slot for tick_ (called when tick_ has just entered it): those of level 0 are due, as all there have
// the same tick; the others are filed anew.
void TimerWheel::cascade(int level) {
  const auto slot = static_cast<size_t>((tick_ >> (level * SLOT_BITS)) & (SLOTS - 1));
  uint64_t& word = occupied_[static_cast<size_t>(level)][slot / 64];
  const uint64_t bit = uint64_t{1} << (slot % 64);
  if ((word & bit) == 0) return;
  word &= ~bit;
  Timer& head = slots_[static_cast<size_t>(level)][slot];
  if (level == 0) return list_append(expired_, head);
  Timer rest;  // detach first: file() may put a far timer back into this very slot
  list_init(rest);
  list_append(rest, head);
  while (!list_empty(rest)) {
    Timer& timer = *rest.next;
    list_unlink(timer);
    file(timer);
  }
}

Timer* TimerWheel::expire(MonoTime now) {
  const int64_t target = now.ns > start_.ns ? (now.ns - start_.ns) / TICK.ns : 0;
  while (list_empty(expired_) && tick_ < target) {
    if (armed_count_ == 0) {
      tick_ = target;
      break;
    }
    // Skip to the next occupied slot of level 0, or to the start of the next round.
    const int64_t round_end = (tick_ | (SLOTS - 1)) + 1;
    int64_t step = round_end;
    for (int64_t t = tick_ + 1; t < round_end;) {
      const auto slot = static_cast<size_t>(t & (SLOTS - 1));
      const uint64_t word = occupied_[0][slot / 64] >> (slot % 64);
      if (word != 0) {
        step = t + std::countr_zero(word);
        break;
      }
      t = (t | 63) + 1;
    }
    tick_ = step < target ? step : target;
    for (int level = LEVELS - 1; level >= 0; --level) {
      if ((tick_ & ((int64_t{1} << (level * SLOT_BITS)) - 1)) == 0) cascade(level);
    }
  }
  if (list_empty(expired_)) return nullptr;
  Timer* timer = expired_.next;
  list_unlink(*timer);
  __builtin_prefetch(expired_.next);
  --armed_count_;
  return timer;
}

MonoTime TimerWheel::next_due() const {
  if (armed_count_ == 0) return MonoTime::never();
  if (!list_empty(expired_)) return start_;
  const int64_t round_end = (tick_ | (SLOTS - 1)) + 1;
  for (int64_t t = tick_ + 1; t < round_end;) {
    const auto slot = static_cast<size_t>(t & (SLOTS - 1));
    const uint64_t word = occupied_[0][slot / 64] >> (slot % 64);
    if (word != 0) return start_ + TICK * (t + std::countr_zero(word));
    t = (t | 63) + 1;
  }
  return start_ + TICK * round_end;
}

}  // namespace penstock
