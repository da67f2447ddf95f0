#include "src/net/syn_admission.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr uint32_t HALF_OPEN_MIN = 512;

struct Handshakes {
  uint32_t answered, established, given_up;
};
constexpr Handshakes CALM = {1'000, 1'000, 0};
constexpr Handshakes OVERLOAD = {1'000, 800, 200};
constexpr Handshakes FLOOD = {100'000, 800, 200};

class SynAdmissionTest : public testing::Test {
 protected:
  // What an interval brings; and then frames wait.
  bool turns_away_after(const Handshakes& seen, bool frames_wait = true) {
    for (uint32_t i = 0; i < seen.answered; ++i) admission.answered();
    for (uint32_t i = 0; i < seen.established; ++i) admission.established();
    for (uint32_t i = 0; i < seen.given_up; ++i) admission.given_up();
    for (uint32_t i = 0; i < SynAdmission::FULL_BURSTS && frames_wait; ++i) admission.turn(now, true);
    now = now + SynAdmission::INTERVAL;
    admission.turn(now, false);
    for (uint32_t i = 0; i < SynAdmission::FULL_BURSTS; ++i) admission.turn(now, true);
    const bool away = admission.turns_away(HALF_OPEN_MIN);
    admission.turn(now, false);
    return away;
  }
  MonoTime now{1'000'000'000};
  SynAdmission admission{HALF_OPEN_MIN, now};
};

TEST_F(SynAdmissionTest, who_is_given_up_while_frames_wait_turns_others_away) {
  EXPECT_TRUE(turns_away_after(OVERLOAD));
}

TEST_F(SynAdmissionTest, a_crowd_at_once_of_whom_nobody_goes_is_let_in) {
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(turns_away_after(CALM));
}

TEST_F(SynAdmissionTest, clients_that_give_up_while_no_frames_wait_turn_nobody_away) {
  admission.turn(now + SynAdmission::INTERVAL, false);
  now = now + SynAdmission::INTERVAL;
  for (uint32_t i = 0; i < 200; ++i) admission.answered(), admission.given_up(), admission.established();
  now = now + SynAdmission::INTERVAL;
  admission.turn(now, false);
  for (uint32_t i = 0; i < SynAdmission::FULL_BURSTS; ++i) admission.turn(now, true);
  EXPECT_FALSE(admission.turns_away(HALF_OPEN_MIN));
}

TEST_F(SynAdmissionTest, a_few_handshakes_tell_nothing) { EXPECT_FALSE(turns_away_after({40, 30, 10})); }

TEST_F(SynAdmissionTest, one_of_sixteen_that_goes_is_a_sign_and_one_of_a_hundred_is_none) {
  EXPECT_FALSE(turns_away_after({1'000, 990, 10}));
  EXPECT_TRUE(turns_away_after({1'000, 930, 70}));
}

TEST_F(SynAdmissionTest, rfc4987_a_flood_is_left_to_cookies_and_ends_it_at_once) {
  EXPECT_FALSE(turns_away_after(FLOOD));
  EXPECT_TRUE(turns_away_after(OVERLOAD));
  EXPECT_FALSE(turns_away_after(FLOOD));
}

TEST_F(SynAdmissionTest, nobody_is_turned_away_unless_frames_wait_and_many_are_half_open) {
  ASSERT_TRUE(turns_away_after(OVERLOAD));
  EXPECT_FALSE(admission.turns_away(HALF_OPEN_MIN)) << "the last burst was not full";
  for (uint32_t i = 0; i < SynAdmission::FULL_BURSTS; ++i) {
    EXPECT_FALSE(admission.turns_away(HALF_OPEN_MIN)) << i;
    admission.turn(now, true);
  }
  EXPECT_TRUE(admission.turns_away(HALF_OPEN_MIN));
  EXPECT_FALSE(admission.turns_away(HALF_OPEN_MIN - 1));
}

TEST_F(SynAdmissionTest, it_ends_and_lasts_longer_when_it_comes_again_soon) {
  const auto lasts = [&] {
    uint32_t intervals = 0;
    for (bool away = turns_away_after(OVERLOAD); away && intervals < 1'000; away = turns_away_after(CALM)) ++intervals;
    return intervals;
  };
  EXPECT_EQ(lasts(), SynAdmission::HOLD_MIN);
  EXPECT_EQ(lasts(), 2 * SynAdmission::HOLD_MIN);
  for (int i = 0; i < 10; ++i) (void)lasts();
  EXPECT_EQ(lasts(), SynAdmission::HOLD_MAX);
  for (uint32_t i = 0; i <= SynAdmission::HOLD_MAX; ++i) (void)turns_away_after(CALM);
  EXPECT_EQ(lasts(), SynAdmission::HOLD_MIN) << "after as long without";
}

}  // namespace
}  // namespace penstock
