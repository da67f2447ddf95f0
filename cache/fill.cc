// Invariant, under mutex_: each fill lent out is in the chain of its hash, once, and no two are for the same
// FillKey; each waiter lent out hangs on exactly one fill.
#include "cache/fill.h"

#include "src/base/assert.h"

#include <algorithm>
#include <bit>

namespace penstock {

FillTable::Fill::Fill(const FillKey& wanted)
    : host(wanted.key.host),
      target(wanted.key.target),
      secure(wanted.key.secure),
      hash(wanted.hash),
      generation(wanted.generation),
      purge_mark(wanted.purge_mark) {}

bool FillTable::Fill::is(const FillKey& wanted) const {
  return hash == wanted.hash && generation == wanted.generation && purge_mark == wanted.purge_mark &&
         secure == wanted.key.secure && host == wanted.key.host && target == wanted.key.target;
}

FillTable::FillTable(uint32_t fills_max, uint32_t waiters_max)
    : fills_(fills_max), waiters_(waiters_max), buckets_(std::bit_ceil(std::max(fills_max, 16u))) {}

FillTable::Joined FillTable::join(const FillKey& key, const FillWaiter& waiter) {
  const std::lock_guard lock(mutex_);
  for (Fill* fill = bucket_of(key.hash); fill != nullptr; fill = fill->next) {
    if (!fill->is(key)) continue;
    Waiting* waiting = waiters_.take(waiter);
    if (waiting == nullptr) return {};
    (fill->last != nullptr ? fill->last->next : fill->first) = waiting;
    fill->last = waiting;
    return {FillRole::WAIT, fills_.handle_of(fill)};
  }
  return begin(key);
}

FillTable::Joined FillTable::lead(const FillKey& key) {
  const std::lock_guard lock(mutex_);
  for (const Fill* fill = bucket_of(key.hash); fill != nullptr; fill = fill->next) {
    if (fill->is(key)) return {};
  }
  return begin(key);
}

FillTable::Joined FillTable::begin(const FillKey& key) {
  Fill* const fill = fills_.take(key);
  if (fill == nullptr) return {};
  Fill*& bucket = bucket_of(key.hash);
  fill->next = bucket;
  bucket = fill;
  return {FillRole::LEAD, fills_.handle_of(fill)};
}

void FillTable::complete(Handle handle, std::vector<FillWaiter>& waiters) {
  const std::lock_guard lock(mutex_);
  Fill* fill = fills_.find(handle);
  ASSERT(fill != nullptr);
  Fill** link = &bucket_of(fill->hash);
  while (*link != fill) link = &(*link)->next;
  *link = fill->next;
  while (Waiting* waiting = fill->first) {
    fill->first = waiting->next;
    waiters.push_back(waiting->waiter);
    waiters_.give(waiting);
  }
  fills_.give(fill);
}

bool FillTable::leave(Handle handle, const FillWaiter& waiter) {
  const std::lock_guard lock(mutex_);
  Fill* fill = fills_.find(handle);
  if (fill == nullptr) return false;
  Waiting* before = nullptr;
  for (Waiting* at = fill->first; at != nullptr; before = at, at = at->next) {
    if (at->waiter.reactor != waiter.reactor || at->waiter.handle != waiter.handle) continue;
    (before != nullptr ? before->next : fill->first) = at->next;
    if (fill->last == at) fill->last = before;
    waiters_.give(at);
    return true;
  }
  return false;
}

uint32_t FillTable::fills() const {
  const std::lock_guard lock(mutex_);
  return fills_.count();
}

uint32_t FillTable::waiters() const {
  const std::lock_guard lock(mutex_);
  return waiters_.count();
}

}  // namespace penstock
