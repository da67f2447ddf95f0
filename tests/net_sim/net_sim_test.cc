// The seeded simulator of src/net: two engines on a wire with faults, tiny windows and segments, slow and rude users.
//
// Checked for each seed: every byte that arrives is the one that was sent, in order, once; an end that is told of the
// peer's end has had all of it; nothing is lent when all is over; and once faults stop, all ends within bounded time.
// PENSTOCK_SIM_SEEDS sets how many seeds run, PENSTOCK_SIM_SEED replays one.

#include "src/base/bytes.h"
#include "tests/net_sim/random_world.h"
#include "tests/net_sim/seeds.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace penstock {
namespace {

void run_seed(uint64_t seed, bool with_faults) {
  Prng prng(seed);
  NetConfig client = random_config(prng, 0);
  NetConfig server = random_config(prng, 1);
  if (client.addresses.mtu != server.addresses.mtu && prng.one_in(2)) client.addresses.mtu = server.addresses.mtu;
  NetWorld world(seed, random_link(prng, with_faults), client, server);
  const MonoTime begin = world.now();
  const uint32_t connections = 1 + prng.below(4);
  for (uint32_t i = 0; i < connections; ++i) {
    const UserPlan of_client = random_plan(prng);  // one after the other: compilers differ in the order of arguments
    const UserPlan of_server = random_plan(prng);
    world.open(of_client, of_server, prng.one_in(2));
  }
  const bool early = world.run(begin + seconds(with_faults ? 60 : 120));
  world.link().stop_faults();
  // The largest RTO, and what a slow wire needs, are over long before.
  if (!early) (void)world.run(world.now() + seconds(600));
  ASSERT_TRUE(world.all_ended()) << "seed " << seed << (with_faults ? "" : ", no faults") << "\n"
                                 << world.faults(false);
  ASSERT_TRUE(early || with_faults) << "seed " << seed << " took more than two minutes without faults";
  world.rest();
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
