// AllQueues: all queues of a port as the device of one engine, so that one generator meets a server of several queues.
//
// What goes out goes by FlowSteering, as a card or a switch at the other end would deliver it: the frames of a
// connection on one queue, in their order; with `astray` on the queue after that, so that the server must hand each of
// them over.
#pragma once

#include "src/net/packet_device.h"
#include "src/net/wire/flow_steering.h"

#include <algorithm>
#include <span>
#include <vector>

namespace penstock {

class AllQueues final : public PacketDevice {
 public:
  // REQUIRES: at least one queue; they outlive it.
  AllQueues(std::vector<PacketDevice*> queues, bool astray)
      : queues_(std::move(queues)), steering_(static_cast<uint16_t>(queues_.size())), astray_(astray) {}

  [[nodiscard]] DeviceFeatures features() const override { return queues_[0]->features(); }
  void start() override {
    for (PacketDevice* queue : queues_) queue->start();
    queues_[0]->start();
  }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override {
    size_t count = 0;
    const size_t share = std::max<size_t>(out.size() / queues_.size(), 1);
    for (size_t i = 0; i < queues_.size() && count < out.size(); ++i) {
      const std::span<RxFrame> room = out.subspan(count, std::min(share, out.size() - count));
      const size_t got = queues_[i]->rx_burst(room);
      for (RxFrame& frame : room.first(got)) frame.token = frame.token * size() + static_cast<uint32_t>(i);
      count += got;
    }
    return count;
  }
  void rx_release(uint32_t token) override { queues_[token % size()]->rx_release(token / size()); }
  [[nodiscard]] bool tx_ready() override {
    return std::all_of(queues_.begin(), queues_.end(), [](PacketDevice* queue) { return queue->tx_ready(); });
  }
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override {
    for (size_t i = 0; i < frames.size(); ++i) {
      if (queue_for(frames[i]).tx_burst(frames.subspan(i, 1)) == 0) return i;
    }
    return frames.size();
  }
  [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override {
    size_t count = 0;
    for (PacketDevice* queue : queues_) count += queue->tx_done(holds.subspan(count));
    return count;
  }

 private:
  [[nodiscard]] uint32_t size() const { return static_cast<uint32_t>(queues_.size()); }
  // The head has all that steering looks at, but for the length of the packet, which counts the payload.
  [[nodiscard]] PacketDevice& queue_for(const TxFrame& frame) {
    whole_.assign(frame.head, frame.head + frame.head_bytes);
    size_t bytes = frame.head_bytes;
    for (size_t i = 0; i < frame.part_count; ++i) bytes += frame.parts[i].size;
    whole_.resize(bytes);
    const FlowSteering::Route route = steering_.route(whole_);
    const bool one = route.to == FlowSteering::Route::To::ONE;
    return *queues_[one ? (route.engine + (astray_ ? 1U : 0U)) % size() : 0];
  }

  std::vector<PacketDevice*> queues_;
  FlowSteering steering_;
  bool astray_;
  std::vector<uint8_t> whole_;
};

}  // namespace penstock
