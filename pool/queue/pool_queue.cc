// Invariants. Every item is in the list of arrivals, sorted by `arrived`; and in the list of its client. A client's
// first item stands for the client: it, and no other, is in the ring of turns and in the table, and knows the client's
// last.
#include "pool/queue/pool_queue.h"

#include "src/base/assert.h"
#include "src/base/hash.h"

#include <bit>

namespace penstock {

QueueTurns::QueueTurns(uint32_t clients, uint64_t seed) : mask_(std::bit_ceil(uint64_t{clients}) - 1), seed_(seed) {
  chains_ = std::make_unique<QueueItem*[]>(mask_ + 1);
}

QueueItem** QueueTurns::place(const PoolQueue* queue, uint64_t client) {
  const uint64_t hash = hash_word(client ^ seed_ ^ hash_word(reinterpret_cast<uintptr_t>(queue)));
  QueueItem** at = &chains_[hash & mask_];
  while (*at != nullptr && ((*at)->queue_ != queue || (*at)->client != client)) at = &(*at)->chain_;
  return at;
}

PoolQueue::~PoolQueue() { ASSERT(empty() && waiting_ == 0); }

// At its place by age: nearly always the end; one that comes back goes further up, past those that came while its
// worker had it.
void PoolQueue::link_arrival(QueueItem& item) {
  QueueItem* older = newest_;
  while (older != nullptr && older->arrived > item.arrived) older = older->older_;
  item.older_ = older;
  item.newer_ = older == nullptr ? oldest_ : older->newer_;
  (item.older_ == nullptr ? oldest_ : item.older_->newer_) = &item;
  (item.newer_ == nullptr ? newest_ : item.newer_->older_) = &item;
  item.before_ = item.after_ = nullptr;
  item.queue_ = this;
  ++waiting_;
}

void PoolQueue::unlink_arrival(QueueItem& item) {
  (item.older_ == nullptr ? oldest_ : item.older_->newer_) = item.newer_;
  (item.newer_ == nullptr ? newest_ : item.newer_->older_) = item.older_;
  item.queue_ = nullptr;
  --waiting_;
  bound_.leave();
}

// A new client is the last to have its turn. `place`: where the table ends for it.
void PoolQueue::join_turns(QueueItem& first, QueueItem** place) {
  *place = &first;
  first.chain_ = nullptr;
  first.last_ = &first;
  if (turn_ == nullptr) {
    turn_ = first.turn_before_ = first.turn_after_ = &first;
  } else {
    first.turn_after_ = turn_;
    first.turn_before_ = turn_->turn_before_;
    first.turn_before_->turn_after_ = first.turn_after_->turn_before_ = &first;
  }
}

void PoolQueue::leave_turns(QueueItem& first) {
  if (first.turn_after_ == &first) {
    turn_ = nullptr;
    return;
  }
  first.turn_before_->turn_after_ = first.turn_after_;
  first.turn_after_->turn_before_ = first.turn_before_;
  if (turn_ == &first) turn_ = first.turn_after_;
}

// The client has another first item now: it stands where the old one stood.
void PoolQueue::replace_first(QueueItem& old_first, QueueItem& new_first) {
  QueueItem** const place = turns_.place(this, old_first.client);
  ASSERT(*place == &old_first);
  new_first.chain_ = old_first.chain_;
  *place = &new_first;
  const bool alone = old_first.turn_after_ == &old_first;
  new_first.turn_before_ = alone ? &new_first : old_first.turn_before_;
  new_first.turn_after_ = alone ? &new_first : old_first.turn_after_;
  new_first.turn_before_->turn_after_ = new_first.turn_after_->turn_before_ = &new_first;
  if (turn_ == &old_first) turn_ = &new_first;
}

bool PoolQueue::put(QueueItem& item, uint32_t queue_max) {
  ASSERT(!item.queued());
  if (!bound_.enter(queue_max)) return false;
  link_arrival(item);
  QueueItem** const place = turns_.place(this, item.client);
  if (QueueItem* const first = *place; first != nullptr) {
    item.before_ = first->last_;
    first->last_->after_ = &item;
    first->last_ = &item;
    return true;
  }
  join_turns(item, place);
  return true;
}

void PoolQueue::put_back(QueueItem& item) {
  ASSERT(!item.queued());
  const bool entered = bound_.enter(UINT32_MAX);
  ASSERT(entered);
  link_arrival(item);
  QueueItem** const place = turns_.place(this, item.client);
  if (QueueItem* const first = *place; first != nullptr) {
    replace_first(*first, item);
    item.after_ = first;
    item.last_ = first->last_;
    first->before_ = &item;
    return;
  }
  join_turns(item, place);
}

QueueItem* PoolQueue::take() {
  if (turn_ == nullptr) return nullptr;
  QueueItem& item = *turn_;
  turn_ = item.turn_after_;  // the next client's, whether or not this one has more
  remove(item);
  return &item;
}

void PoolQueue::remove(QueueItem& item) {
  ASSERT(item.queue_ == this);
  if (item.before_ != nullptr) {
    QueueItem* const first = *turns_.place(this, item.client);
    item.before_->after_ = item.after_;
    (item.after_ == nullptr ? first->last_ : item.after_->before_) = item.before_;
  } else if (item.after_ != nullptr) {
    item.after_->before_ = nullptr;
    item.after_->last_ = item.last_;
    replace_first(item, *item.after_);
  } else {
    QueueItem** const place = turns_.place(this, item.client);
    ASSERT(*place == &item);
    *place = item.chain_;
    leave_turns(item);
  }
  unlink_arrival(item);
}

QueueItem* PoolQueue::expire(MonoTime now, Duration timeout) {
  if (oldest_ == nullptr || oldest_->arrived + timeout > now) return nullptr;
  QueueItem& item = *oldest_;
  remove(item);
  return &item;
}

MonoTime PoolQueue::next_due(Duration timeout) const {
  return oldest_ == nullptr ? MonoTime::never() : oldest_->arrived + timeout;
}

}  // namespace penstock
