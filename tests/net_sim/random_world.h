// Wires, engines and users by chance: what the seeded tests of two engines have in common.
#pragma once

#include "tests/net_sim/net_world.h"

#include <initializer_list>

namespace penstock {

inline uint32_t one_of(Prng& prng, std::initializer_list<uint32_t> values) {
  return values.begin()[prng.below(static_cast<uint32_t>(values.size()))];
}

inline LinkOptions random_link(Prng& prng, bool with_faults) {
  LinkOptions link;
  link.delay = microseconds(one_of(prng, {10, 200, 5'000, 40'000}));
  link.bytes_per_second = one_of(prng, {200'000, 2'000'000, 125'000'000});
  link.queue_max = one_of(prng, {8, 50, 1'000});
  link.offload = prng.one_in(2);
  link.copies = prng.one_in(3);
  link.large_bytes = one_of(prng, {0, 0, 65'000, 3'000});
  if (with_faults) {
    link.faults = {.lose_one_in = one_of(prng, {0, 8, 20, 100}),
                   .duplicate_one_in = one_of(prng, {0, 0, 10, 50}),
                   .delay_one_in = one_of(prng, {0, 0, 4, 30}),
                   .corrupt_one_in = one_of(prng, {0, 0, 10, 50})};
  }
  return link;
}

inline NetConfig random_config(Prng& prng, size_t which) {
  NetConfig config = NetWorld::config(which);
  config.addresses.mtu = static_cast<uint16_t>(one_of(prng, {1'500, 1'500, 576, 1'280, 9'000, 120}));
  config.limits.receive_window_bytes = one_of(prng, {256 * 1'024, 65'535, 4'096, 700});
  config.limits.scoreboards_max = one_of(prng, {32, 1});
  config.limits.half_open_max = one_of(prng, {32, 1, 1});
  config.congestion = prng.one_in(4) ? CongestionKind::RENO : CongestionKind::CUBIC;
  return config;
}

inline UserPlan random_plan(Prng& prng) {
  UserPlan plan;
  plan.send_bytes = prng.one_in(12) ? prng.below(60'000) : prng.below(one_of(prng, {1, 400, 6'000}) + 1);
  plan.chunk_max = one_of(prng, {1, 30, 1'500, 20'000});
  if (plan.chunk_max == 1) plan.send_bytes %= 300;
  plan.unacknowledged_max = one_of(prng, {1, 3'000, 64'000});
  if (plan.unacknowledged_max == 1) plan.send_bytes %= 2'000;  // a round trip each
  plan.hold_buffers = one_of(prng, {0, 0, 3, 20});
  plan.pauses = prng.one_in(5);
  plan.closes_at_peer_close = prng.one_in(2);
  if (prng.one_in(25)) plan.abort_after = prng.below(3'000);
  return plan;
}

}  // namespace penstock
