#include "src/net/neighbour_table.h"

#include "src/base/hash.h"

#include <algorithm>

namespace penstock {

NeighbourTable::Entry* NeighbourTable::find(const IpAddress& ip) {
  if (Entry& last = entries_[last_found_]; last.state != State::FREE && last.ip == ip) return &last;
  const size_t bucket = hash_bytes(ip.bytes.data(), ip.bytes.size(), seed_) % BUCKETS;
  for (size_t i = bucket * WAYS; i < (bucket + 1) * WAYS; ++i) {
    if (entries_[i].state == State::FREE || entries_[i].ip != ip) continue;
    last_found_ = i;
    return &entries_[i];
  }
  return nullptr;
}

NeighbourTable::Entry& NeighbourTable::make(const IpAddress& ip, MonoTime now) {
  const size_t bucket = hash_bytes(ip.bytes.data(), ip.bytes.size(), seed_) % BUCKETS;
  Entry* oldest = nullptr;
  for (Entry& entry : std::span(entries_).subspan(bucket * WAYS, WAYS)) {
    if (entry.state == State::FREE) {
      oldest = &entry;
      break;
    }
    if (oldest == nullptr || entry.used < oldest->used) oldest = &entry;
  }
  set_state(*oldest, State::FREE);
  drop_waiters(*oldest);
  *oldest = {};
  oldest->ip = ip;
  oldest->used = now;
  return *oldest;
}

void NeighbourTable::set_state(Entry& entry, State state) {
  const auto asks = [](State s) { return s == State::ASKING || s == State::REFRESHING; };
  asking_ += asks(state);
  asking_ -= asks(entry.state);
  entry.state = state;
}

void NeighbourTable::ask(Entry& entry, State state, MonoTime now) {
  set_state(entry, state);
  entry.tries = 0;
  entry.doubted = false;
  entry.next_try = now;
  next_request_ = asking_ == 1 ? now : std::min(next_request_, now);
}

std::optional<MacAddress> NeighbourTable::resolve(const IpAddress& ip, Handle waiter, MonoTime now) {
  Entry* entry = find(ip);
  if (entry == nullptr) {
    entry = &make(ip, now);
    ask(*entry, State::ASKING, now);
  }
  entry->used = now;
  if (entry->state == State::ASKING) {
    add_waiter(*entry, waiter);
    return std::nullopt;
  }
  // Old knowledge goes on being used while it is asked for again.
  if (entry->state == State::KNOWN && now - entry->confirmed > FRESH) ask(*entry, State::REFRESHING, now);
  return entry->mac;
}

// One that waits already and comes back with its next segment, or its timer, is not sought for: to be woken twice does
// no harm.
void NeighbourTable::add_waiter(Entry& entry, Handle conn) {
  if (entry.last_waiter != NO_INDEX && waiters_[entry.last_waiter].conn == conn) return;
  const uint32_t index = waiters_.take();
  if (index == NO_INDEX) return;
  waiters_[index].conn = conn;
  if (entry.last_waiter == NO_INDEX) {
    entry.first_waiter = index;
  } else {
    waiters_[entry.last_waiter].next = index;
  }
  entry.last_waiter = index;
}

void NeighbourTable::drop_waiters(Entry& entry) {
  while (entry.first_waiter != NO_INDEX) {
    const uint32_t index = entry.first_waiter;
    entry.first_waiter = waiters_[index].next;
    waiters_.give(index);
  }
  entry.last_waiter = NO_INDEX;
}

bool NeighbourTable::next_woken(Handle& waiter) {
  if (woken_ == NO_INDEX) [[likely]]
    return false;
  const uint32_t index = woken_;
  waiter = waiters_[index].conn;
  woken_ = waiters_[index].next;
  waiters_.give(index);
  return true;
}

void NeighbourTable::doubt(const IpAddress& ip, MonoTime now) {
  Entry* entry = find(ip);
  if (entry == nullptr || entry->state != State::KNOWN || now - entry->confirmed <= RETRY) return;
  ask(*entry, State::REFRESHING, now);
  entry->doubted = true;
}

void NeighbourTable::learn(const IpAddress& ip, const MacAddress& mac, bool create, MonoTime now) {
  Entry* entry = find(ip);
  if (entry == nullptr) {
    if (!create) return;
    entry = &make(ip, now);
  }
  set_state(*entry, State::KNOWN);
  entry->mac = mac;
  entry->confirmed = now;
  if (entry->first_waiter == NO_INDEX) return;
  ASSERT(woken_ == NO_INDEX);  // one frame teaches one address
  woken_ = entry->first_waiter;
  entry->first_waiter = entry->last_waiter = NO_INDEX;
}

size_t NeighbourTable::due_requests(std::span<IpAddress> out, MonoTime now, uint64_t& lost) {
  size_t count = 0;
  if (asking_ == 0 || now < next_request_) return 0;
  next_request_ = MonoTime::never();
  for (Entry& entry : entries_) {
    if (entry.state != State::ASKING && entry.state != State::REFRESHING) continue;
    if (entry.next_try <= now && count < out.size()) {
      if (entry.tries == TRIES_MAX && entry.doubted) {
        set_state(entry, State::KNOWN);
        continue;
      }
      if (entry.tries == TRIES_MAX) {
        set_state(entry, State::FREE);
        drop_waiters(entry);
        ++lost;
        continue;
      }
      ++entry.tries;
      entry.next_try = now + RETRY;
      out[count++] = entry.ip;
    }
    next_request_ = std::min(next_request_, entry.next_try);
  }
  return count;
}

}  // namespace penstock
