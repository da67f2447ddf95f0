// TapDevice: a PacketDevice on a TAP interface of the kernel, so that an engine speaks to Linux. FaultyDevice: one in
// front of another that loses and delays frames, from a seed. Test code: a system call for each frame.
#pragma once

#include "src/base/prng.h"
#include "src/base/unique_fd.h"
#include "src/net/packet_device.h"

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace penstock {

class TapDevice final : public PacketDevice {
 public:
  static constexpr uint32_t FRAMES = 4'096;  // lent at a time; beyond: they wait in the kernel
  static constexpr uint32_t FRAME_BYTES = 2'048;

  // nullptr: `wrong` says why.
  static std::unique_ptr<TapDevice> open(const std::string& name, std::string& wrong);
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] size_t lent() const { return FRAMES - free_.size(); }

  [[nodiscard]] DeviceFeatures features() const override { return {}; }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override;
  void rx_release(uint32_t token) override { free_.push_back(token); }
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override;
  [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override;

 private:
  explicit TapDevice(int fd);

  UniqueFd fd_;
  std::vector<uint8_t> memory_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> done_;
};

// One in so many frames suffers, in either direction; 0: none.
struct TapFaults {
  uint32_t lose_one_in = 0;
  uint32_t delay_one_in = 0;  // overtaken by up to eight that come behind it
};

class FaultyDevice final : public PacketDevice {
 public:
  FaultyDevice(PacketDevice& inner, uint64_t seed, const TapFaults& faults)
      : inner_(inner), prng_(seed), faults_(faults) {}

  // Frames are delayed: the turn must come again soon, though nothing comes in.
  [[nodiscard]] bool pending() const { return !late_in_.empty() || !late_out_.empty(); }
  [[nodiscard]] uint64_t lost() const { return lost_; }
  [[nodiscard]] uint64_t delayed() const { return delayed_; }

  [[nodiscard]] DeviceFeatures features() const override { return inner_.features(); }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override;
  void rx_release(uint32_t token) override { inner_.rx_release(token); }
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override;
  [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override;

 private:
  template <typename Frame>
  struct Late {
    Frame frame;
    uint32_t overtakers;  // so many more go first
  };
  [[nodiscard]] bool happens(uint32_t one_in) { return one_in != 0 && prng_.one_in(one_in); }
  void write(std::vector<uint8_t>& bytes);

  PacketDevice& inner_;
  Prng prng_;
  TapFaults faults_;
  std::deque<Late<RxFrame>> late_in_;
  std::deque<Late<std::vector<uint8_t>>> late_out_;
  std::vector<uint32_t> done_;
  uint64_t lost_ = 0;
  uint64_t delayed_ = 0;
};

}  // namespace penstock
