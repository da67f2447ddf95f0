// NeighbourTable: who on our link has which MAC address (ARP, RFC 826; neighbour discovery, RFC 4861). Owned by one
// engine.
//
// Fixed in size: buckets of eight; in a full one the entry unused for the longest gives way. While an address is being
// asked for, connections wait for it, WAITING_MAX in all, and are woken; who finds no place, or waits in vain, has its
// own retransmission timer.
#pragma once

#include "src/base/handle.h"
#include "src/base/time.h"
#include "src/net/index_pool.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip_address.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace penstock {

class NeighbourTable {
 public:
  static constexpr uint32_t BUCKETS = 128;
  static constexpr uint32_t WAYS = 8;
  static constexpr uint32_t WAITING_MAX = 16'384;
  static constexpr uint32_t TRIES_MAX = 3;        // RFC 4861: MAX_MULTICAST_SOLICIT
  static constexpr Duration RETRY = seconds(1);   // … RETRANS_TIMER
  static constexpr Duration FRESH = seconds(30);  // … REACHABLE_TIME: after that it is asked again while in use

  explicit NeighbourTable(uint64_t seed) : seed_(seed), entries_(size_t{BUCKETS} * WAYS), waiters_(WAITING_MAX) {}

  // The MAC address of `ip` when it is known; else `waiter` waits for it, and it is asked for (see due_requests()).
  [[nodiscard]] std::optional<MacAddress> resolve(const IpAddress& ip, Handle waiter, MonoTime now);
  // `ip` has `mac`, it says so itself. `create`: even if nobody asked. next_woken() tells who waited.
  void learn(const IpAddress& ip, const MacAddress& mac, bool create, MonoTime now);
  // One who waited for what has been learnt, in the order in which they came; false: no more of them.
  [[nodiscard]] bool next_woken(Handle& waiter);
  // `ip` does not answer: what is known of it may be wrong, and is asked for again, once a RETRY at most. Used on until
  // FRESH is over: the silence may have another cause.
  void doubt(const IpAddress& ip, MonoTime now);

  // The addresses to be asked for now, at most out.size(); returns how many. `lost` counts those given up.
  [[nodiscard]] size_t due_requests(std::span<IpAddress> out, MonoTime now, uint64_t& lost);
  // When due_requests() is worth calling.
  [[nodiscard]] MonoTime next_request() const { return asking_ == 0 ? MonoTime::never() : next_request_; }

 private:
  enum class State : uint8_t { FREE, ASKING, KNOWN, REFRESHING };
  struct Entry {
    IpAddress ip;
    MacAddress mac;
    State state = State::FREE;
    uint8_t tries = 0;
    bool doubted = false;  // REFRESHING by doubt()
    MonoTime confirmed;
    MonoTime used;
    MonoTime next_try;
    uint32_t first_waiter = NO_INDEX;
    uint32_t last_waiter = NO_INDEX;
  };
  struct Waiter {
    Handle conn;
    uint32_t next = NO_INDEX;
  };
  [[nodiscard]] Entry* find(const IpAddress& ip);
  [[nodiscard]] Entry& make(const IpAddress& ip, MonoTime now);
  void ask(Entry& entry, State state, MonoTime now);
  void set_state(Entry& entry, State state);
  void add_waiter(Entry& entry, Handle conn);
  void drop_waiters(Entry& entry);

  uint64_t seed_;
  std::vector<Entry> entries_;  // sized once
  size_t last_found_ = 0;       // in it: one frame after the other goes to the same next hop
  IndexPool<Waiter> waiters_;
  uint32_t woken_ = NO_INDEX;  // the first of a list
  uint32_t asking_ = 0;        // entries in ASKING or REFRESHING
  MonoTime next_request_ = MonoTime::never();
};

}  // namespace penstock
