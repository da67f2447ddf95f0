// ConnectionLimiter: exact counts of open connections, in all and per client address.
//
// One per server process, shared by the reactors. The total is one atomic; the per-client table is
// touched only while `limits.connections_per_client` is set (an accept is a system call already, so
// a short lock per accept and close is not what it costs). IPv6 clients are counted by their /64,
// the smallest block a client is usually given (RFC 6177). Unix-socket peers count in the total
// only.
#pragma once

#include "src/transport/transport.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace penstock {

class ConnectionLimiter {
 public:
  enum class Answer : uint8_t { ADMITTED, OVER_TOTAL, OVER_PER_CLIENT };

  explicit ConnectionLimiter(uint64_t seed) : seed_(seed) {}

  // Counts the connection when ADMITTED; whoever was admitted must be given to leave() once, with
  // the same `counted_per_client` flag as was returned. `per_client_max` 0: not counted by client.
  struct Admission {
    Answer answer;
    bool counted_per_client;
  };
  [[nodiscard]] Admission enter(const PeerAddress& peer, uint32_t total_max, uint32_t per_client_max);
  void leave(const PeerAddress& peer, bool counted_per_client);

  [[nodiscard]] uint32_t open() const { return open_.load(std::memory_order_relaxed); }

 private:
  struct Shard {
    std::mutex mutex;
    std::unordered_map<uint64_t, uint32_t> open;  // keyed hash of the address: a 64-bit clash is ignored
  };

  [[nodiscard]] uint64_t client_key(const PeerAddress& peer) const;
  Shard& shard(uint64_t key) { return shards_[key >> 58]; }

  const uint64_t seed_;
  alignas(64) std::atomic<uint32_t> open_{0};
  std::array<Shard, 64> shards_;
};

}  // namespace penstock
