// PoolQueue: the requests of one reactor that wait for a worker of one pool (http.sys's request queue).
//
// Bounded by the pool's queue_max over all reactors together, exactly: PoolBound counts. Fair between clients: they
// take turns, however many requests each of them has waiting; within a client, first come first served (deficit round
// robin of Shreedhar and Varghese, SIGCOMM 1995, where each request costs the same). A request whose client has gone is
// taken out at once and never reaches a worker; one that waited longer than the pool's queue_timeout comes out of
// expire(). So after a stall only live requests are left.
//
// One owner thread, but for PoolBound. Intrusive: a QueueItem is embedded in what waits; nothing allocates after
// construction. Every call is O(1), but for put_back(): O(those that came after the item). Never here: what a request
// is, and who its worker will be.
#pragma once

#include "src/base/time.h"

#include <atomic>
#include <cstdint>
#include <memory>

namespace penstock {

// What the reactors' queues of one pool share: how many wait in all. The answer at the limit is exact: the call that
// would be one too many is refused, whichever reactors meet there.
class PoolBound {
 public:
  // False: `limit` are waiting. A lower limit than before refuses until enough have left; nobody is thrown out.
  [[nodiscard]] bool enter(uint32_t limit) {
    // Relaxed: the number orders nothing but itself.
    uint32_t waiting = waiting_.load(std::memory_order_relaxed);
    do {
      if (waiting >= limit) return false;
    } while (!waiting_.compare_exchange_weak(waiting, waiting + 1, std::memory_order_relaxed));
    return true;
  }
  void leave() { waiting_.fetch_sub(1, std::memory_order_relaxed); }
  [[nodiscard]] uint32_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint32_t> waiting_{0};
};

class PoolQueue;

// One waiting request. Its owner keeps it where it is while queued().
struct QueueItem {
  uint64_t client = 0;  // who takes turns with whom: a hash of address, or of site and address
  MonoTime arrived;
  [[nodiscard]] bool queued() const { return queue_ != nullptr; }

 private:
  friend class PoolQueue;
  friend class QueueTurns;
  PoolQueue* queue_ = nullptr;
  QueueItem* older_ = nullptr;  // of the queue, in order of arrival
  QueueItem* newer_ = nullptr;
  QueueItem* before_ = nullptr;  // of the same client; nullptr: it is the client's first
  QueueItem* after_ = nullptr;
  // Of a client's first only:
  QueueItem* last_ = nullptr;         // of the client
  QueueItem* turn_before_ = nullptr;  // the ring of clients
  QueueItem* turn_after_ = nullptr;
  QueueItem* chain_ = nullptr;  // of the table
};

// Finds the first waiting request of a client, for all queues of a reactor: one table, so that an idle pool costs none.
class QueueTurns {
 public:
  // `clients`: how many may wait at a time before chains grow; rounded up to a power of two. `seed`: clients must not
  // be able to choose their chain.
  QueueTurns(uint32_t clients, uint64_t seed);
  QueueTurns(const QueueTurns&) = delete;
  QueueTurns& operator=(const QueueTurns&) = delete;

 private:
  friend class PoolQueue;
  [[nodiscard]] QueueItem** place(const PoolQueue* queue, uint64_t client);  // of the pointer to it, or to the end
  std::unique_ptr<QueueItem*[]> chains_;
  uint64_t mask_;
  uint64_t seed_;
};

class PoolQueue {
 public:
  PoolQueue(PoolBound& bound, QueueTurns& turns) : bound_(bound), turns_(turns) {}
  PoolQueue(const PoolQueue&) = delete;
  PoolQueue& operator=(const PoolQueue&) = delete;
  ~PoolQueue();  // REQUIRES: empty()

  // False: queue_max are waiting in the pool, and `item` is not. REQUIRES: !item.queued().
  [[nodiscard]] bool put(QueueItem& item, uint32_t queue_max);
  // For one that was already taken and whose worker was lost: at the head of its client's, in the place that its
  // arrival gives it. It is let in over the limit, for it was let in before. REQUIRES: !item.queued().
  void put_back(QueueItem& item);
  // The next one, taken out; nullptr: none waits.
  [[nodiscard]] QueueItem* take();
  // Its client has gone, or it is answered otherwise. REQUIRES: it waits in this queue.
  void remove(QueueItem& item);
  // The oldest one if it has waited for `timeout` or longer, taken out; nullptr: none has.
  [[nodiscard]] QueueItem* expire(MonoTime now, Duration timeout);
  // When expire() is worth calling; MonoTime::never() when empty.
  [[nodiscard]] MonoTime next_due(Duration timeout) const;

  [[nodiscard]] bool empty() const { return oldest_ == nullptr; }
  [[nodiscard]] uint32_t waiting() const { return waiting_; }  // of this reactor

 private:
  void link_arrival(QueueItem& item);
  void unlink_arrival(QueueItem& item);
  void join_turns(QueueItem& first, QueueItem** place);
  void leave_turns(QueueItem& first);
  void replace_first(QueueItem& old_first, QueueItem& new_first);

  PoolBound& bound_;
  QueueTurns& turns_;
  QueueItem* oldest_ = nullptr;
  QueueItem* newest_ = nullptr;
  QueueItem* turn_ = nullptr;  // the client whose turn it is
  uint32_t waiting_ = 0;
};

}  // namespace penstock
