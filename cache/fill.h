// FillTable: one fill per key, across all reactors; everyone else who wants it waits for that one.
//
// A thousand requests that miss the same key at once read the file once. Bounded: at most fills_max
// fills and waiters_max waiters; at the bound the answer is FULL and the request serves itself without the
// cache. Any thread; one mutex, held for a few dozen nanoseconds; only misses come here.
#pragma once

#include "cache/key.h"
#include "src/base/fixed_pool.h"
#include "src/base/handle.h"

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace penstock {

// What is being filled. A fill that began under another configuration or before a purge is another
// fill: who comes after the purge must not get what was read before it.
struct FillKey {
  KeyView key;
  uint64_t hash = 0;
  uint64_t generation = 0;
  uint64_t purge_mark = 0;
};

struct FillWaiter {
  uint32_t reactor = 0;
  Handle handle;  // the waiting exchange, in that reactor's pool
};

enum class FillRole : uint8_t { LEAD, WAIT, FULL };

class FillTable {
 public:
  FillTable(uint32_t fills_max, uint32_t waiters_max);
  FillTable(const FillTable&) = delete;
  FillTable& operator=(const FillTable&) = delete;

  struct Joined {
    FillRole role = FillRole::FULL;
    Handle fill;  // LEAD: give it to complete(). WAIT: the fill waited for. FULL: invalid.
  };
  // LEAD: the caller fills and must call complete() once, whatever happens. WAIT: `waiter` will be
  // handed out by complete(). FULL: no room.
  [[nodiscard]] Joined join(const FillKey& key, const FillWaiter& waiter);

  // LEAD, if nobody fills it; else FULL, and nobody waits: for who has an answer already.
  [[nodiscard]] Joined lead(const FillKey& key);

  // The fill is over, well or badly: appends its waiters to `waiters` in the order they came, and forgets it.
  // REQUIRES: `fill` was given with LEAD and not completed since.
  void complete(Handle fill, std::vector<FillWaiter>& waiters);

  // A waiter that gives up (its client left). False where it was not waiting any more: then complete()
  // has handed it out.
  bool leave(Handle fill, const FillWaiter& waiter);

  [[nodiscard]] uint32_t fills() const;
  [[nodiscard]] uint32_t waiters() const;

 private:
  struct Waiting {
    explicit Waiting(const FillWaiter& who) : waiter(who) {}
    FillWaiter waiter;
    Waiting* next = nullptr;
  };
  struct Fill {
    explicit Fill(const FillKey& wanted);
    [[nodiscard]] bool is(const FillKey& wanted) const;
    std::string host, target;
    bool secure;
    uint64_t hash, generation, purge_mark;
    Fill* next = nullptr;  // in its bucket
    Waiting* first = nullptr;
    Waiting* last = nullptr;
  };
  [[nodiscard]] Joined begin(const FillKey& key);  // REQUIRES: mutex_, and nobody fills it
  [[nodiscard]] Fill*& bucket_of(uint64_t hash) { return buckets_[hash & (buckets_.size() - 1)]; }

  mutable std::mutex mutex_;
  FixedPool<Fill> fills_;
  FixedPool<Waiting> waiters_;
  std::vector<Fill*> buckets_;  // a power of two of chains
};

}  // namespace penstock
