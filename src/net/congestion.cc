#include "src/net/congestion.h"

#include <algorithm>

namespace penstock {

void CongestionControl::start(CongestionState& state, uint32_t mss) const {
  state = {};
  state.mss = mss;
  state.cwnd = std::min(10 * mss, std::max(2 * mss, 14'600U));
}

uint32_t CongestionControl::slow_start(CongestionState& state, uint32_t acked_bytes) {
  const uint32_t room = state.ssthresh > state.cwnd ? state.ssthresh - state.cwnd : 0;
  const uint32_t grow = std::min({acked_bytes, 2 * state.mss, room});
  state.cwnd += grow;
  return state.cwnd < state.ssthresh ? 0 : acked_bytes - std::min(acked_bytes, grow);
}

void CongestionControl::on_timeout(CongestionState& state, uint32_t flight, bool repeated, MonoTime now) const {
  if (!repeated) on_congestion(state, flight, now);
  state.cwnd = state.mss;
  state.epoch_start = {};
}

void CongestionControl::on_idle(CongestionState& state) const {
  CongestionState fresh;
  start(fresh, state.mss);
  state.cwnd = std::min(state.cwnd, fresh.cwnd);
  state.epoch_start = {};
}

uint64_t CongestionControl::pacing_bytes_per_second(const CongestionState& state, uint32_t srtt_us) const {
  if (srtt_us == 0) return 0;
  const uint64_t percent = state.cwnd < state.ssthresh / 2 ? 200 : 120;
  return uint64_t{state.cwnd} * percent * 10'000 / srtt_us;
}

void RenoControl::on_ack(CongestionState& state, const AckSample& sample) const {
  if (!sample.cwnd_limited) return;
  const uint32_t left = slow_start(state, sample.acked_bytes);
  if (left == 0 || state.cwnd < state.ssthresh) return;
  const uint64_t grown = uint64_t{state.mss} * left + state.remainder;
  state.remainder = static_cast<uint32_t>(grown % state.cwnd);
  state.cwnd += static_cast<uint32_t>(grown / state.cwnd);
}

void RenoControl::on_congestion(CongestionState& state, uint32_t flight, MonoTime) const {
  state.ssthresh = std::max(flight / 2, 2 * state.mss);
  state.cwnd = state.ssthresh;
}

}  // namespace penstock
