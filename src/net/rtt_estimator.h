// Round-trip time and retransmission timeout (RFC 6298), in microseconds. A part of each connection; pure.
//
// The RFC's least RTO of one second (2.4) is a parameter: 200 ms is what deployed stacks use, and delayed ACKs stay
// below it.
#pragma once

#include <algorithm>
#include <cstdint>

namespace penstock {

struct RttEstimator {
  static constexpr uint32_t INITIAL_RTO_US = 1'000'000;  // (2.1)
  static constexpr uint32_t GRANULARITY_US = 4'000;      // G: a tick of the timer wheel

  uint32_t srtt_us = 0;  // 0: no sample yet
  uint32_t rttvar_us = 0;
  uint32_t rto_us = INITIAL_RTO_US;

  // (2.2), (2.3). REQUIRES: not of a segment that was sent twice (Karn), unless told apart by timestamps.
  void sample(uint32_t rtt_us, uint32_t rto_min_us, uint32_t rto_max_us) {
    rtt_us = std::max(rtt_us, 1U);
    if (srtt_us == 0) {
      srtt_us = rtt_us;
      rttvar_us = rtt_us / 2;
    } else {
      const uint32_t error = srtt_us > rtt_us ? srtt_us - rtt_us : rtt_us - srtt_us;
      rttvar_us = rttvar_us - rttvar_us / 4 + error / 4;
      srtt_us = srtt_us - srtt_us / 8 + rtt_us / 8;
    }
    restore(rto_min_us, rto_max_us);
  }
  // The RTO without back-off. REQUIRES: a sample was taken, else nothing happens.
  void restore(uint32_t rto_min_us, uint32_t rto_max_us) {
    if (srtt_us == 0) return;
    const uint64_t rto = static_cast<uint64_t>(srtt_us) + std::max<uint64_t>(GRANULARITY_US, uint64_t{4} * rttvar_us);
    rto_us = static_cast<uint32_t>(std::clamp<uint64_t>(rto, rto_min_us, rto_max_us));
  }
  // (5.5): the timer has fired.
  void back_off(uint32_t rto_max_us) { rto_us = rto_us > rto_max_us / 2 ? rto_max_us : rto_us * 2; }
};

}  // namespace penstock
