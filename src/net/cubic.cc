// RFC 9438 in whole numbers, so that every build computes the same: times in milliseconds, windows in bytes, C = 0.4
// segments/s^3, beta = 0.7.
//
// W_cubic(t) = C (t - K)^3 + W_max in segments and seconds; in bytes and milliseconds 4 mss (t - K)^3 / 10^10 + W_max.
// |t - K| is held to 20 s, beyond which a window has long met another limit, so 4 * 65536 * 20000^3 fits 63 bits.
#include "src/net/congestion.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr int64_t REACH_MS = 20'000;

uint32_t times_beta(uint32_t bytes) { return static_cast<uint32_t>(uint64_t{bytes} * 7 / 10); }

uint32_t cube_root(uint64_t of) {
  uint64_t root = 0;
  for (uint64_t bit = uint64_t{1} << 20; bit != 0; bit >>= 1) {
    const uint64_t next = root | bit;
    if (next * next * next <= of) root = next;
  }
  return static_cast<uint32_t>(root);
}

void begin_epoch(CongestionState& state, MonoTime now) {
  state.epoch_start = now;
  state.w_est = state.cwnd;
  state.remainder = 0;
  if (state.w_max <= state.cwnd) {
    state.w_max = state.cwnd;
    state.k_ms = 0;
    return;
  }
  const uint64_t thousandths = uint64_t{state.w_max - state.cwnd} * 1'000 / state.mss;  // of segments
  state.k_ms = cube_root(thousandths * 2'500'000);                                      // / (0.4 * 1000), in ms^3
}

int64_t w_cubic(const CongestionState& state, int64_t t_ms) {
  const int64_t x = std::clamp<int64_t>(t_ms - state.k_ms, -REACH_MS, REACH_MS);
  return x * x * x * 4 * state.mss / 10'000'000'000 + state.w_max;
}

}  // namespace

void CubicControl::on_ack(CongestionState& state, const AckSample& sample) const {
  if (!sample.cwnd_limited) return;
  const uint32_t left = slow_start(state, sample.acked_bytes);
  if (left == 0 || state.cwnd < state.ssthresh) return;
  if (state.epoch_start.ns == 0) begin_epoch(state, sample.now);
  // Section 4.3: what Reno with CUBIC's beta would have; alpha = 3 (1 - beta) / (1 + beta), and 1 once past the former
  // window.
  const uint64_t alpha = state.w_est < state.cwnd_prior ? 529 : 1'000;
  const uint64_t reno = alpha * state.mss * left + state.remainder;
  const uint64_t divisor = uint64_t{1'000} * state.cwnd;
  state.w_est = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{state.w_est} + reno / divisor, UINT32_MAX / 2));
  state.remainder = static_cast<uint32_t>(std::min<uint64_t>(reno % divisor, UINT32_MAX));
  const int64_t t_ms = (sample.now - state.epoch_start).ms();
  if (w_cubic(state, t_ms) < state.w_est) {
    state.cwnd = std::max(state.cwnd, state.w_est);
    return;
  }
  // Sections 4.2, 4.4, 4.5: towards the window of one round trip from now, at most half as much again per round trip.
  const int64_t target =
      std::clamp<int64_t>(w_cubic(state, t_ms + sample.srtt_us / 1'000), state.cwnd, int64_t{state.cwnd} * 3 / 2);
  const uint64_t grow = static_cast<uint64_t>(target - state.cwnd) * left / state.cwnd;
  state.cwnd = static_cast<uint32_t>(std::min<uint64_t>(state.cwnd + grow, UINT32_MAX / 2));
}

void CubicControl::on_congestion(CongestionState& state, uint32_t flight, MonoTime) const {
  // Section 4.7: fast convergence gives up some of the room to those who come.
  state.w_max = state.cwnd < state.w_max ? static_cast<uint32_t>(uint64_t{state.cwnd} * 17 / 20) : state.cwnd;
  state.cwnd_prior = state.cwnd;
  state.ssthresh = std::max(times_beta(flight), 2 * state.mss);
  state.cwnd = state.ssthresh;
  state.epoch_start = {};
}

}  // namespace penstock
