// SimLink: a wire between two engines, with every fault that wires have, from a seed. Both ends are PacketDevices.
//
// The payload of a frame is read twice, as a card would by DMA: when it is handed over, and when its turn on the wire
// comes. In between it must not change; only then does tx_done() let go of it. A breach is counted (memory_changed).
#pragma once

#include "src/base/prng.h"
#include "src/base/time.h"
#include "src/net/packet_device.h"

#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace penstock {

// One in so many frames suffers; 0: none.
struct LinkFaults {
  uint32_t lose_one_in = 0;
  uint32_t duplicate_one_in = 0;
  uint32_t delay_one_in = 0;  // overtaken by those behind it
  uint32_t corrupt_one_in = 0;
};

struct LinkOptions {
  Duration delay = milliseconds(1);
  uint64_t bytes_per_second = 125'000'000;
  uint32_t queue_max = 1'000;  // frames that wait for the wire; beyond: lost
  LinkFaults faults;
  bool offload = false;  // the ends make and check checksums
  bool copies = false;   // the ends copy payload at once
  // Payload bytes of a frame that the ends cut into segments, as a card does (TSO); 0: they cut none.
  uint32_t large_bytes = 0;
};

class SimLink {
 public:
  SimLink(uint64_t seed, const LinkOptions& options);

  [[nodiscard]] PacketDevice& end(size_t which) { return ends_[which]; }
  void set_now(MonoTime now) { now_ = now; }
  // When a frame next arrives or leaves; never() when the wire is empty.
  [[nodiscard]] MonoTime next_event() const;
  void stop_faults() { options_.faults = {}; }
  // Frames still lent out, or that an end still reads from.
  [[nodiscard]] size_t lent() const { return ends_[0].lent_.size() + ends_[1].lent_.size(); }

  uint64_t frame_count = 0;
  uint64_t large_count = 0;  // of these, before they are cut
  uint64_t lost_count = 0;
  uint64_t memory_changed = 0;

 private:
  struct Waiting {  // for its turn on the wire
    std::vector<uint8_t> bytes;
    std::vector<TxPart> parts;    // of its own payload
    std::vector<uint32_t> holds;  // that end with it
    size_t head_bytes = 0;
    MonoTime leaves;
    bool lost = false;
  };
  class End final : public PacketDevice {
   public:
    [[nodiscard]] DeviceFeatures features() const override;
    [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override;
    void rx_release(uint32_t token) override;
    [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override;
    [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override;

   private:
    friend class SimLink;
    SimLink* link_ = nullptr;
    size_t which_ = 0;
    std::deque<Waiting> waiting_;
    std::multimap<int64_t, std::vector<uint8_t>> arriving_;  // by time
    std::map<uint32_t, std::vector<uint8_t>> lent_;
    uint32_t next_token_ = 1;
    MonoTime busy_until_;
  };

  void take(End& from, const TxFrame& frame);
  [[nodiscard]] static Waiting segment_of(const TxFrame& frame, std::span<const TxPart> parts, uint32_t offset = 0,
                                          bool last = true);
  void queue(End& from, Waiting&& frame);
  void leave(End& from, Waiting& frame);

  Prng prng_;
  LinkOptions options_;
  MonoTime now_;
  End ends_[2];
};

}  // namespace penstock
