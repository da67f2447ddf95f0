#include "src/net/congestion.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr uint32_t MSS = 1'000;
const CubicControl CUBIC;
const RenoControl RENO;

// A round trip of `rtt` in which the whole window is acknowledged, segment by segment.
void round_trip(const CongestionControl& control, CongestionState& state, MonoTime& now, Duration rtt) {
  const uint32_t segments = state.cwnd / MSS;
  for (uint32_t i = 0; i < segments; ++i) {
    now = now + rtt / segments;
    control.on_ack(state,
                   {.now = now, .acked_bytes = MSS, .srtt_us = static_cast<uint32_t>(rtt.us()), .cwnd_limited = true});
  }
}

TEST(Congestion, rfc6928_initial_window_is_ten_segments) {
  CongestionState state;
  CUBIC.start(state, 1'460);
  EXPECT_EQ(state.cwnd, 14'600U);
  CUBIC.start(state, 100);
  EXPECT_EQ(state.cwnd, 1'000U);
  CUBIC.start(state, 9'000);
  EXPECT_EQ(state.cwnd, 18'000U);
}

TEST(Congestion, rfc5681_slow_start_doubles_in_a_round_trip) {
  for (const CongestionControl* control :
       {static_cast<const CongestionControl*>(&CUBIC), static_cast<const CongestionControl*>(&RENO)}) {
    CongestionState state;
    control->start(state, MSS);
    MonoTime now = {1};
    round_trip(*control, state, now, milliseconds(50));
    EXPECT_EQ(state.cwnd, 20 * MSS);
    round_trip(*control, state, now, milliseconds(50));
    EXPECT_EQ(state.cwnd, 40 * MSS);
  }
}

TEST(Congestion, rfc3465_one_ack_opens_the_window_by_two_segments_at_most) {
  CongestionState state;
  CUBIC.start(state, MSS);
  CUBIC.on_ack(state, {.now = {1}, .acked_bytes = 10 * MSS, .srtt_us = 1, .cwnd_limited = true});
  EXPECT_EQ(state.cwnd, 12 * MSS);
}

TEST(Congestion, rfc7661_a_window_that_is_not_used_does_not_grow) {
  CongestionState state;
  CUBIC.start(state, MSS);
  CUBIC.on_ack(state, {.now = {1}, .acked_bytes = MSS, .srtt_us = 1, .cwnd_limited = false});
  EXPECT_EQ(state.cwnd, 10 * MSS);
}

TEST(Congestion, rfc5681_reno_avoidance_adds_a_segment_in_a_round_trip) {
  CongestionState state;
  RENO.start(state, MSS);
  RENO.on_congestion(state, 40 * MSS, {1});
  EXPECT_EQ(state.cwnd, 20 * MSS);
  EXPECT_EQ(state.ssthresh, 20 * MSS);
  MonoTime now = {1};
  round_trip(RENO, state, now, milliseconds(50));
  EXPECT_NEAR(state.cwnd, 21 * MSS, MSS / 20);
}

TEST(Congestion, rfc5681_a_timeout_leaves_one_segment_and_half_the_flight) {
  CongestionState state;
  RENO.start(state, MSS);
  RENO.on_timeout(state, 10 * MSS, false, {1});
  EXPECT_EQ(state.cwnd, MSS);
  EXPECT_EQ(state.ssthresh, 5 * MSS);
  RENO.on_timeout(state, MSS, true, {1});  // of the same data: ssthresh stays
  EXPECT_EQ(state.ssthresh, 5 * MSS);
}

TEST(Congestion, rfc5681_restart_window_after_idle) {
  CongestionState state;
  CUBIC.start(state, MSS);
  state.cwnd = 100 * MSS;
  CUBIC.on_idle(state);
  EXPECT_EQ(state.cwnd, 10 * MSS);
}

TEST(Cubic, rfc9438_section_4_6_multiplicative_decrease_is_seven_tenths) {
  CongestionState state;
  CUBIC.start(state, MSS);
  state.cwnd = 100 * MSS;
  CUBIC.on_congestion(state, 100 * MSS, {1});
  EXPECT_EQ(state.ssthresh, 70 * MSS);
  EXPECT_EQ(state.cwnd, 70 * MSS);
  CUBIC.on_congestion(state, MSS, {1});
  EXPECT_EQ(state.ssthresh, 2 * MSS);
}

TEST(Cubic, rfc9438_section_4_7_fast_convergence) {
  CongestionState state;
  CUBIC.start(state, MSS);
  state.cwnd = 100 * MSS;
  CUBIC.on_congestion(state, 100 * MSS, {1});
  EXPECT_EQ(state.w_max, 100 * MSS);
  CUBIC.on_congestion(state, 70 * MSS, {1});  // lost again below the former window
  EXPECT_EQ(state.w_max, 59'500U);            // 70 (1 + 0.7) / 2
}

// K = cbrt(300 / 0.4) = 9.09 s for a window that lost 300 of 1000 segments.
TEST(Cubic, rfc9438_section_4_2_is_back_at_the_former_window_after_k) {
  CongestionState state;
  CUBIC.start(state, MSS);
  state.cwnd = 1'000 * MSS;
  CUBIC.on_congestion(state, 1'000 * MSS, {1});
  MonoTime now = {1'000'000'000};
  const MonoTime begin = now;
  round_trip(CUBIC, state, now, milliseconds(100));
  EXPECT_NEAR(state.k_ms, 9'086, 5);
  while (now < begin + milliseconds(4'500)) round_trip(CUBIC, state, now, milliseconds(100));
  EXPECT_NEAR(state.cwnd, 962 * MSS, 15 * MSS);  // 0.4 (4.5 + 0.1 - 9.09)^3 + 1000: fast at first
  while (now < begin + milliseconds(9'086)) round_trip(CUBIC, state, now, milliseconds(100));
  EXPECT_NEAR(state.cwnd, 1'000 * MSS, 10 * MSS);  // flat around it
  while (now < begin + milliseconds(14'000)) round_trip(CUBIC, state, now, milliseconds(100));
  EXPECT_NEAR(state.cwnd, 1'050 * MSS, 20 * MSS);  // and beyond: probing
}

TEST(Cubic, rfc9438_section_4_3_short_round_trips_are_no_slower_than_reno) {
  CongestionState state;
  CUBIC.start(state, MSS);
  state.cwnd = 20 * MSS;
  CUBIC.on_congestion(state, 20 * MSS, {1});
  MonoTime now = {1'000'000'000};
  for (int i = 0; i < 10; ++i) round_trip(CUBIC, state, now, milliseconds(1));
  EXPECT_NEAR(state.cwnd, 14'000 + 5'290, 500);  // 0.529 segments a round trip, as Reno with beta = 0.7
  for (int i = 0; i < 10; ++i) round_trip(CUBIC, state, now, milliseconds(1));
  EXPECT_NEAR(state.cwnd, 28'000, 1'000);  // a whole one from the former window on
}

TEST(Congestion, pacing_is_a_little_above_the_window_a_round_trip) {
  CongestionState state;
  CUBIC.start(state, MSS);
  EXPECT_EQ(CUBIC.pacing_bytes_per_second(state, 0), 0U);
  EXPECT_EQ(CUBIC.pacing_bytes_per_second(state, 100'000), 200'000U);  // slow start: twice
  CUBIC.on_congestion(state, 10 * MSS, {1});
  EXPECT_EQ(CUBIC.pacing_bytes_per_second(state, 100'000), 84'000U);
}

}  // namespace
}  // namespace penstock
