#include "src/server/connection_limiter.h"

#include "src/base/hash.h"

#include <sys/socket.h>

namespace penstock {

uint64_t ConnectionLimiter::client_key(const PeerAddress& peer) const {
  const size_t bytes = peer.family == AF_INET6 ? 8 : 4;
  return hash_bytes(peer.ip, bytes, seed_ + peer.family);
}

ConnectionLimiter::Admission ConnectionLimiter::enter(const PeerAddress& peer, uint32_t total_max,
                                                      uint32_t per_client_max) {
  // Add first, look after: two reactors can then never both take the last place.
  if (open_.fetch_add(1, std::memory_order_relaxed) >= total_max) {
    open_.fetch_sub(1, std::memory_order_relaxed);
    return {Answer::OVER_TOTAL, false};
  }
  if (per_client_max == 0 || peer.family == AF_UNIX) return {Answer::ADMITTED, false};
  const uint64_t key = client_key(peer);
  Shard& place = shard(key);
  const std::lock_guard lock(place.mutex);
  uint32_t& open = place.open[key];
  if (open >= per_client_max) {
    if (open == 0) place.open.erase(key);
    open_.fetch_sub(1, std::memory_order_relaxed);
    return {Answer::OVER_PER_CLIENT, false};
  }
  ++open;
  return {Answer::ADMITTED, true};
}

void ConnectionLimiter::leave(const PeerAddress& peer, bool counted_per_client) {
  open_.fetch_sub(1, std::memory_order_relaxed);
  if (!counted_per_client) return;
  const uint64_t key = client_key(peer);
  Shard& place = shard(key);
  const std::lock_guard lock(place.mutex);
  const auto found = place.open.find(key);
  if (found != place.open.end() && --found->second == 0) place.open.erase(found);
}

}  // namespace penstock
