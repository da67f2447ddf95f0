#include "src/base/adaptive_spin.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

// Looks before it sleeps.
uint32_t looks(AdaptiveSpin& spin) {
  uint32_t count = 0;
  while (spin.again()) ++count;
  return count;
}

void wear_out(AdaptiveSpin& spin) {
  while (looks(spin) > AdaptiveSpin::LOOKS_MIN) continue;
}

TEST(AdaptiveSpin, looks_less_and_less_while_it_is_in_vain) {
  AdaptiveSpin spin;
  EXPECT_EQ(looks(spin), AdaptiveSpin::LOOKS_MAX);
  EXPECT_EQ(looks(spin), AdaptiveSpin::LOOKS_MAX / 2);
  uint32_t all = 0;
  for (uint32_t i = 0; i < 1'000; ++i) all += looks(spin);
  EXPECT_LE(all, 2 * AdaptiveSpin::LOOKS_MAX + AdaptiveSpin::LOOKS_PROBED +
                     1'000 * AdaptiveSpin::LOOKS_MIN / AdaptiveSpin::PROBE_EVERY)
      << "an idle worker burns no core";
}

TEST(AdaptiveSpin, tries_again_from_time_to_time) {
  AdaptiveSpin spin;
  wear_out(spin);
  uint32_t sleeps = 0;
  while (looks(spin) == 0) ++sleeps;
  EXPECT_LT(sleeps, AdaptiveSpin::PROBE_EVERY);
  EXPECT_EQ(spin.left(), 0U);
}

TEST(AdaptiveSpin, looks_for_longer_now_and_then_so_that_who_answers_late_is_found) {
  AdaptiveSpin spin;
  wear_out(spin);
  uint32_t most = 0;
  for (uint32_t i = 0; i < AdaptiveSpin::LONG_PROBE_EVERY; ++i) most = std::max(most, looks(spin));
  EXPECT_EQ(most, AdaptiveSpin::LOOKS_PROBED);
  while (spin.left() < AdaptiveSpin::LOOKS_PROBED) (void)looks(spin);
  for (uint32_t i = 0; i < 400; ++i) ASSERT_TRUE(spin.again());
  spin.worked();
  EXPECT_EQ(spin.left(), 800U) << "twice what was needed";
}

TEST(AdaptiveSpin, may_end_before_its_budget_does) {
  AdaptiveSpin spin;
  ASSERT_TRUE(spin.again());
  spin.give_up();
  EXPECT_EQ(spin.left(), AdaptiveSpin::LOOKS_MAX / 2);
}

TEST(AdaptiveSpin, looks_more_while_it_pays) {
  AdaptiveSpin spin;
  wear_out(spin);
  while (!spin.again()) continue;  // until it tries
  spin.worked();
  EXPECT_EQ(looks(spin), 2 * AdaptiveSpin::LOOKS_MIN);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(spin.again());
    spin.worked();
  }
  EXPECT_EQ(looks(spin), AdaptiveSpin::LOOKS_MAX) << "and no more";
}

TEST(AdaptiveSpin, takes_no_credit_for_what_woke_it) {
  AdaptiveSpin spin;
  wear_out(spin);
  for (int i = 0; i < 10; ++i) {
    while (spin.again()) continue;
    spin.worked();  // the doorbell rang
  }
  EXPECT_LE(looks(spin), AdaptiveSpin::LOOKS_MIN);
}

}  // namespace
}  // namespace penstock
