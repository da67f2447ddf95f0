// NeighbourTable: who on our link has which MAC address (ARP, RFC 826; neighbour discovery, RFC 4861). Owned by one
// engine.
//
// Fixed in size: buckets of eight; in a full one the entry unused for the longest gives way. While an address is being
// asked for, up to WAITING_MAX connections wait in it, and are told; who finds no place is woken by its own
// retransmission timer.
#pragma once

#include "src/base/handle.h"
#include "src/base/time.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip_address.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace penstock {

class NeighbourTable {
 public:
  static constexpr uint32_t BUCKETS = 128;
  static constexpr uint32_t WAYS = 8;
  static constexpr uint32_t WAITING_MAX = 16;
  static constexpr uint32_t TRIES_MAX = 3;        // RFC 4861: MAX_MULTICAST_SOLICIT
  static constexpr Duration RETRY = seconds(1);   // … RETRANS_TIMER
  static constexpr Duration FRESH = seconds(30);  // … REACHABLE_TIME: after that it is asked again while in use

  struct Waiting {
    std::array<Handle, WAITING_MAX> conns;
    uint32_t count = 0;
  };

  explicit NeighbourTable(uint64_t seed) : seed_(seed), entries_(size_t{BUCKETS} * WAYS) {}

  // The MAC address of `ip` when it is known; else `waiter` waits for it, and it is asked for (see due_requests()).
  [[nodiscard]] std::optional<MacAddress> resolve(const IpAddress& ip, Handle waiter, MonoTime now);
  // `ip` has `mac`, it says so itself. `create`: even if nobody asked. Returns who waited.
  [[nodiscard]] Waiting learn(const IpAddress& ip, const MacAddress& mac, bool create, MonoTime now);

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
    MonoTime confirmed;
    MonoTime used;
    MonoTime next_try;
    Waiting waiting;
  };
  [[nodiscard]] Entry* find(const IpAddress& ip);
  [[nodiscard]] Entry& make(const IpAddress& ip, MonoTime now);
  void ask(Entry& entry, State state, MonoTime now);
  void set_state(Entry& entry, State state);

  uint64_t seed_;
  std::vector<Entry> entries_;  // sized once
  uint32_t asking_ = 0;         // entries in ASKING or REFRESHING
  MonoTime next_request_ = MonoTime::never();
};

}  // namespace penstock
