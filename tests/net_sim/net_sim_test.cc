// The seeded simulator of src/net: two engines on a wire with faults, tiny windows and segments, slow and rude users.
//
// Checked for each seed: every byte that arrives is the one that was sent, in order, once; an end that is told of the
// peer's end has had all of it; nothing is lent when all is over; and once faults stop, all ends within bounded time.
// PENSTOCK_SIM_SEEDS sets how many seeds run, PENSTOCK_SIM_SEED replays one.

#include "src/base/bytes.h"
#include "tests/net_sim/net_world.h"
#include "tests/net_sim/seeds.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace penstock {
namespace {

uint32_t one_of(Prng& prng, std::initializer_list<uint32_t> values) {
  return values.begin()[prng.below(static_cast<uint32_t>(values.size()))];
}

LinkOptions random_link(Prng& prng, bool with_faults) {
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

NetConfig random_config(Prng& prng, size_t which) {
  NetConfig config = NetWorld::config(which);
  config.addresses.mtu = static_cast<uint16_t>(one_of(prng, {1'500, 1'500, 576, 1'280, 9'000, 120}));
  config.limits.receive_window_bytes = one_of(prng, {256 * 1'024, 65'535, 4'096, 700});
  config.limits.scoreboards_max = one_of(prng, {32, 1});
  config.limits.half_open_max = one_of(prng, {32, 1, 1});
  config.congestion = prng.one_in(4) ? CongestionKind::RENO : CongestionKind::CUBIC;
  return config;
}

UserPlan random_plan(Prng& prng) {
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

void run_seed(uint64_t seed, bool with_faults) {
  Prng prng(seed);
  NetConfig client = random_config(prng, 0);
  NetConfig server = random_config(prng, 1);
  if (client.addresses.mtu != server.addresses.mtu && prng.one_in(2)) client.addresses.mtu = server.addresses.mtu;
  NetWorld world(seed, random_link(prng, with_faults), client, server);
  const MonoTime begin = world.now();
  const uint32_t connections = 1 + prng.below(4);
  for (uint32_t i = 0; i < connections; ++i) world.open(random_plan(prng), random_plan(prng), prng.one_in(2));
  const bool early = world.run(begin + seconds(with_faults ? 60 : 120));
  world.link().stop_faults();
  // The largest RTO, and what a slow wire needs, are over long before.
  if (!early) (void)world.run(world.now() + seconds(600));
  ASSERT_TRUE(world.all_ended()) << "seed " << seed << (with_faults ? "" : ", no faults") << "\n"
                                 << world.faults(false);
  ASSERT_TRUE(early || with_faults) << "seed " << seed << " took more than two minutes without faults";
  // What still speaks of closed connections, and TIME-WAIT.
  for (int i = 0; i < 400 && (world.stack(0).lent() != NetStack::Lent{} || world.stack(1).lent() != NetStack::Lent{} ||
                              world.link().lent() != 0);
       ++i) {
    world.advance(seconds(1));
    world.link().set_now(world.now());
    NetEvent events[8];
    for (size_t side = 0; side < 2; ++side) {
      for (size_t count = world.stack(side).poll(world.now(), events); count != 0;
           count = world.stack(side).poll(world.now(), events)) {
        for (size_t k = 0; k < count; ++k) {
          if (events[k].kind == NetEventKind::ACCEPTED) world.stack(side).reset(events[k].conn);
        }
      }
    }
  }
  ASSERT_EQ(world.faults(true), "") << "seed " << seed << (with_faults ? "" : ", no faults");
}

void run_share(uint64_t share, uint64_t of) {
  const uint64_t one = number_from("PENSTOCK_SIM_SEED", 0);
  if (one != 0) {
    run_seed(one, true);
    run_seed(one, false);
    return;
  }
  const uint64_t seeds = number_from("PENSTOCK_SIM_SEEDS", NET_SIM_SEEDS);
  for (uint64_t seed = 1 + share; seed <= seeds && !testing::Test::HasFatalFailure(); seed += of)
    run_seed(seed, seed % 8 != 0);
}

TEST(NetSim, streams_arrive_exactly_or_fail_cleanly_part_1_of_2) { run_share(0, 2); }
TEST(NetSim, streams_arrive_exactly_or_fail_cleanly_part_2_of_2) { run_share(1, 2); }

}  // namespace
}  // namespace penstock
