#include "src/net/neighbour_table.h"

#include "src/base/hash.h"

#include <algorithm>

namespace penstock {

NeighbourTable::Entry* NeighbourTable::find(const IpAddress& ip) {
  const size_t bucket = hash_bytes(ip.bytes.data(), ip.bytes.size(), seed_) % BUCKETS;
  for (Entry& entry : std::span(entries_).subspan(bucket * WAYS, WAYS)) {
    if (entry.state != State::FREE && entry.ip == ip) return &entry;
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
    Waiting& waiting = entry->waiting;
    const auto begin = waiting.conns.begin();
    if (waiting.count < WAITING_MAX && std::find(begin, begin + waiting.count, waiter) == begin + waiting.count) {
      waiting.conns[waiting.count++] = waiter;
    }
    return std::nullopt;
  }
  // Old knowledge goes on being used while it is asked for again.
  if (entry->state == State::KNOWN && now - entry->confirmed > FRESH) ask(*entry, State::REFRESHING, now);
  return entry->mac;
}

NeighbourTable::Waiting NeighbourTable::learn(const IpAddress& ip, const MacAddress& mac, bool create, MonoTime now) {
  Entry* entry = find(ip);
  if (entry == nullptr) {
    if (!create) return {};
    entry = &make(ip, now);
  }
  set_state(*entry, State::KNOWN);
  entry->mac = mac;
  entry->confirmed = now;
  const Waiting waiting = entry->waiting;
  entry->waiting.count = 0;
  return waiting;
}

size_t NeighbourTable::due_requests(std::span<IpAddress> out, MonoTime now, uint64_t& lost) {
  size_t count = 0;
  if (asking_ == 0 || now < next_request_) return 0;
  next_request_ = MonoTime::never();
  for (Entry& entry : entries_) {
    if (entry.state != State::ASKING && entry.state != State::REFRESHING) continue;
    if (entry.next_try <= now && count < out.size()) {
      if (entry.tries == TRIES_MAX) {
        set_state(entry, State::FREE);
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
