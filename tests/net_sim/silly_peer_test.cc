// Seeds of an engine and a peer that does what none should (silly_peer.h).
//
// Checked for each: no byte arrives that was not sent for its place; an end that is told of the peer's end has had all
// of it; where the silliness is of the harmless kind, and the wire is good, both streams are exact; all ends within
// bounded time, be it that the owner gives up; and nothing is lent when all is over.
// PENSTOCK_SILLY_SEEDS sets how many seeds run, PENSTOCK_SILLY_SEED replays one.

#include "tests/net_sim/random_world.h"
#include "tests/net_sim/seeds.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

// One to three kinds; each kind comes first in as many seeds as any other.
uint32_t random_silliness(Prng& prng, uint64_t seed) {
  uint32_t bits = 1U << seed % SILLINESS_COUNT;
  const uint32_t others = bits > HARMLESS || prng.one_in(2) ? (1U << SILLINESS_COUNT) - 1 : HARMLESS;
  for (uint32_t more = prng.below(3); more != 0; --more) bits |= (1U << prng.below(SILLINESS_COUNT)) & others;
  return bits;
}

// Returns how often the peer was silly.
uint64_t run_silly(uint64_t seed) {
  Prng prng(seed);
  const uint32_t silliness = random_silliness(prng, seed);
  const bool with_faults = prng.one_in(3);
  const bool exact = (silliness & (~HARMLESS | MAY_END_IT)) == 0 && !with_faults;
  NetConfig client = random_config(prng, 0);
  NetConfig server = random_config(prng, 1);
  client.addresses.mtu = server.addresses.mtu;
  NetWorld world(seed, random_link(prng, with_faults), client, server, silliness);
  const std::string which = "seed " + std::to_string(seed) + ", silliness " + std::to_string(silliness);
  const uint32_t connections = 1 + prng.below(3);
  for (uint32_t i = 0; i < connections; ++i) {
    UserPlan plans[2] = {random_plan(prng), random_plan(prng)};
    for (UserPlan& plan : plans) {
      plan.send_bytes %= 6'000;  // some of it goes byte by byte, or as far as a timer lets it
      if (exact) plan.abort_after = UINT64_MAX;
    }
    world.open(plans[0], plans[1], prng.one_in(2));
  }
  (void)world.run(world.now() + seconds(60));
  world.link().stop_faults();
  if (exact || prng.one_in(2)) world.silly().come_to_reason();
  if (!world.all_ended()) (void)world.run(world.now() + seconds(900));
  // A cookie's connection is made from the first segment that comes through: if that is a silly one, there is none.
  if (exact && world.stack(1).counters().syn_cookies_sent == 0) {
    EXPECT_TRUE(world.all_ended()) << which << "\n" << world.faults(false);
    EXPECT_EQ(world.outcome().failed, 0U) << which;
  }
  world.give_up();
  if (!world.all_ended()) (void)world.run(world.now() + seconds(400));
  EXPECT_TRUE(world.all_ended()) << which;
  world.rest();
  EXPECT_EQ(world.faults(true), "") << which;
  return world.silly().deeds();
}

TEST(SillyPeers, get_exact_streams_or_a_clean_end_within_bounded_time) {
  const uint64_t one = number_from("PENSTOCK_SILLY_SEED", 0);
  if (one != 0) {
    run_silly(one);
    return;
  }
  uint64_t deeds[SILLINESS_COUNT] = {};
  const uint64_t seeds = number_from("PENSTOCK_SILLY_SEEDS", SILLY_SEEDS);
  for (uint64_t seed = 1; seed <= seeds; ++seed) deeds[seed % SILLINESS_COUNT] += run_silly(seed);
  for (uint32_t kind = 0; kind < SILLINESS_COUNT && seeds > 500; ++kind)
    EXPECT_GT(deeds[kind], 10U) << "kind " << kind << " is not met";
}

}  // namespace
}  // namespace penstock
