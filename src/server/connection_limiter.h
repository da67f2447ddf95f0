// ConnectionLimiter: whether one more connection may be open, in all and per client address.
//
// One per server process, shared by the reactors. The counts are the ConnectionCounts of all servers, so limits hold
// exactly, also while one server takes over from another. The per-client table is touched only while
// `limits.connections_per_client` is set (an accept is a system call already, so a short lock per accept and close is
// not what it costs). IPv6 clients are counted by their /64, the smallest block a client is usually given (RFC 6177).
// Unix-socket peers count in the total only.
#pragma once

#include "src/server/connection_counts.h"
#include "src/transport/transport.h"

#include <cstdint>

namespace penstock {

class ConnectionLimiter {
 public:
  enum class Answer : uint8_t { ADMITTED, OVER_TOTAL, OVER_PER_CLIENT };

  // Counts at `place` of `counts`, which outlives it.
  ConnectionLimiter(ConnectionCounts& counts, uint32_t place) : counts_(counts), place_(place) {}

  // Counts the connection when ADMITTED; whoever was admitted must be given to leave() once, with
  // the same `counted_per_client` flag as was returned. `per_client_max` 0: not counted by client.
  struct Admission {
    Answer answer;
    bool counted_per_client;
  };
  [[nodiscard]] Admission enter(const PeerAddress& peer, uint32_t total_max, uint32_t per_client_max);
  void leave(const PeerAddress& peer, bool counted_per_client);
  // One that was ADMITTED while nobody was counted by client is so from now on. The new `counted_per_client` of its.
  [[nodiscard]] bool count_by_client(const PeerAddress& peer);

  // Less than half of what may be open is.
  [[nodiscard]] bool is_far_from(uint32_t total_max) const { return counts_.open() < total_max / 2; }

 private:
  [[nodiscard]] uint64_t client_of(const PeerAddress& peer) const;

  ConnectionCounts& counts_;
  const uint32_t place_;
};

}  // namespace penstock
