#include "src/net/rate_limit.h"
#include "src/net/rtt_estimator.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr uint32_t MIN = 200'000;
constexpr uint32_t MAX = 60'000'000;

TEST(Rto, rfc6298_2_1_is_one_second_before_a_sample) { EXPECT_EQ(RttEstimator{}.rto_us, 1'000'000U); }

TEST(Rto, rfc6298_2_2_first_sample) {
  RttEstimator rtt;
  rtt.sample(500'000, MIN, MAX);
  EXPECT_EQ(rtt.srtt_us, 500'000U);
  EXPECT_EQ(rtt.rttvar_us, 250'000U);
  EXPECT_EQ(rtt.rto_us, 1'500'000U);
}

TEST(Rto, rfc6298_2_3_later_samples_with_alpha_one_eighth_and_beta_one_quarter) {
  RttEstimator rtt;
  rtt.sample(800'000, MIN, MAX);
  rtt.sample(400'000, MIN, MAX);
  EXPECT_EQ(rtt.rttvar_us, 400'000U);  // 3/4 of 400 ms and 1/4 of |800 - 400|
  EXPECT_EQ(rtt.srtt_us, 750'000U);
  EXPECT_EQ(rtt.rto_us, 2'350'000U);
}

TEST(Rto, rfc6298_2_4_and_2_5_bounds) {
  RttEstimator rtt;
  for (int i = 0; i < 100; ++i) rtt.sample(50, MIN, MAX);
  EXPECT_EQ(rtt.rto_us, MIN);
  rtt.sample(UINT32_MAX, MIN, MAX);
  EXPECT_EQ(rtt.rto_us, MAX);
}

TEST(Rto, rfc6298_2_3_granularity_keeps_it_above_a_steady_round_trip) {
  RttEstimator rtt;
  for (int i = 0; i < 200; ++i) rtt.sample(400'000, MIN, MAX);
  EXPECT_GE(rtt.rto_us, 400'000 + RttEstimator::GRANULARITY_US);
}

TEST(Rto, rfc6298_5_5_doubles_up_to_the_bound) {
  RttEstimator rtt;
  rtt.back_off(MAX);
  EXPECT_EQ(rtt.rto_us, 2'000'000U);
  for (int i = 0; i < 10; ++i) rtt.back_off(MAX);
  EXPECT_EQ(rtt.rto_us, MAX);
}

TEST(RateLimit, rfc5961_section_7_so_many_a_second) {
  MonoTime now = {5};
  RateLimit limit(10, now);
  int allowed = 0;
  for (int i = 0; i < 50; ++i) allowed += limit.allow(now);
  EXPECT_EQ(allowed, 10);
  now = now + milliseconds(500);
  for (int i = 0; i < 50; ++i) allowed += limit.allow(now);
  EXPECT_EQ(allowed, 15);
  now = now + seconds(100);  // no more than a second's worth is saved up
  for (int i = 0; i < 50; ++i) allowed += limit.allow(now);
  EXPECT_EQ(allowed, 25);
}

TEST(RateLimit, turns_shorter_than_a_token_add_up) {
  MonoTime now = {5};
  RateLimit limit(10, now);
  int allowed = 0;
  for (int i = 0; i < 1'000; ++i, now = now + milliseconds(1)) allowed += limit.allow(now);
  EXPECT_GE(allowed, 18);
  EXPECT_LE(allowed, 20);
}

}  // namespace
}  // namespace penstock
