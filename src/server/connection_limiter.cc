#include "src/server/connection_limiter.h"

#include "src/base/hash.h"

#include <sys/socket.h>

namespace penstock {

// A keyed hash: that two clients share all of its 64 bits is left to chance.
uint64_t ConnectionLimiter::client_of(const PeerAddress& peer) const {
  const size_t bytes = peer.family == AF_INET6 ? 8 : 4;
  return hash_bytes(peer.ip, bytes, counts_.seed() + peer.family);
}

ConnectionLimiter::Admission ConnectionLimiter::enter(const PeerAddress& peer, uint32_t total_max,
                                                      uint32_t per_client_max) {
  const bool by_client = per_client_max != 0 && peer.family != AF_UNIX;
  switch (by_client ? counts_.enter(place_, total_max, client_of(peer), per_client_max)
                    : counts_.enter(place_, total_max)) {
    case ConnectionCounts::Answer::ADMITTED:
      break;
    case ConnectionCounts::Answer::OVER_TOTAL:
      return {Answer::OVER_TOTAL, false};
    case ConnectionCounts::Answer::OVER_CLIENT:
      return {Answer::OVER_PER_CLIENT, false};
  }
  return {Answer::ADMITTED, by_client};
}

bool ConnectionLimiter::count_by_client(const PeerAddress& peer) {
  return peer.family != AF_UNIX && counts_.add(place_, client_of(peer));
}

void ConnectionLimiter::leave(const PeerAddress& peer, bool counted_per_client) {
  const uint64_t client = counted_per_client ? client_of(peer) : 0;
  counts_.leave(place_, counted_per_client ? &client : nullptr);
}

}  // namespace penstock
