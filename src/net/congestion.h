// Congestion control (RFC 5681): how much may be under way. Exchangeable: one CongestionControl serves all connections
// and keeps each one's numbers in its CongestionState. Pure; all sizes in bytes.
#pragma once

#include "src/base/time.h"

#include <cstdint>
#include <string_view>

namespace penstock {

struct CongestionState {
  uint32_t cwnd = 0;
  uint32_t ssthresh = UINT32_MAX;
  uint32_t mss = 0;
  // Of the algorithm alone.
  uint32_t w_max = 0;
  uint32_t w_est = 0;
  uint32_t cwnd_prior = 0;
  uint32_t k_ms = 0;
  uint32_t remainder = 0;     // of a division, so that slow growth is not lost to rounding
  MonoTime epoch_start = {};  // 0: no epoch yet
};

struct AckSample {
  MonoTime now;
  uint32_t acked_bytes = 0;  // newly acknowledged
  uint32_t srtt_us = 0;
  bool cwnd_limited = false;  // the window was what kept us from sending more (RFC 7661)
};

class CongestionControl {
 public:
  virtual ~CongestionControl() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;

  // A new connection: initial window of ten segments (RFC 6928).
  void start(CongestionState& state, uint32_t mss) const;
  // An ACK of new data, outside of recovery.
  virtual void on_ack(CongestionState& state, const AckSample& sample) const = 0;
  // A loss was detected with `flight` bytes under way; once a window. Sets ssthresh, and cwnd to it.
  virtual void on_congestion(CongestionState& state, uint32_t flight, MonoTime now) const = 0;
  // The retransmission timer fired: on_congestion(), then a window of one segment (RFC 5681 section 3.1). `repeated`:
  // of the same data, so that ssthresh stays.
  void on_timeout(CongestionState& state, uint32_t flight, bool repeated, MonoTime now) const;
  // Nothing was sent for longer than the RTO: restart window (RFC 5681 section 4.1).
  void on_idle(CongestionState& state) const;
  // At which a paced sender should send: a little above what the window allows per round trip, twice that in slow
  // start, so that pacing is never the limit. 0: unknown, do not pace.
  [[nodiscard]] uint64_t pacing_bytes_per_second(const CongestionState& state, uint32_t srtt_us) const;

 protected:
  // Growth below ssthresh (RFC 3465 with L = 2); returns what of acked_bytes is left for congestion avoidance.
  static uint32_t slow_start(CongestionState& state, uint32_t acked_bytes);
};

// CUBIC (RFC 9438), with the Reno-friendly region and fast convergence.
class CubicControl final : public CongestionControl {
 public:
  [[nodiscard]] std::string_view name() const override { return "cubic"; }
  void on_ack(CongestionState& state, const AckSample& sample) const override;
  void on_congestion(CongestionState& state, uint32_t flight, MonoTime now) const override;
};

// RFC 5681, to compare with.
class RenoControl final : public CongestionControl {
 public:
  [[nodiscard]] std::string_view name() const override { return "reno"; }
  void on_ack(CongestionState& state, const AckSample& sample) const override;
  void on_congestion(CongestionState& state, uint32_t flight, MonoTime now) const override;
};

}  // namespace penstock
