// KernelPath: the exception path. Frames of a port that are the kernel's go to a TAP device, what the kernel sends
// there goes out of the port, so that a host whose only card is ours stays reachable.
//
// Owned by one EngineTransport, used by its thread. A system call for each frame, BURST of them a turn each way at the
// most: whatever floods the kernel's side takes that much of a turn and no more. Towards the kernel QUEUE_MAX frames
// wait in the device's own buffers; beyond that, and where the kernel does not take one, they are dropped and counted,
// as a full queue on the way would. The kernel's own frames wait in the TAP device's queue, which it bounds.
//
// With `vlan_id` the kernel's end is inside that VLAN: its frames are without the tag there, and have it on the wire.
#pragma once

#include "src/net/frame_taker.h"
#include "src/net/packet_device.h"

#include <array>
#include <cstdint>
#include <vector>

namespace penstock {

class KernelPath final : public FrameTaker {
 public:
  static constexpr uint32_t QUEUE_MAX = 256;
  static constexpr uint32_t BURST = 16;

  struct Counts {
    uint64_t to_kernel = 0;
    uint64_t from_kernel = 0;
    uint64_t drops = 0;
    uint64_t syscalls = 0;
  };

  // `fd` is the TAP device, non-blocking; it and `device` outlive the path. Frames are of at most `mtu` and their
  // heads.
  KernelPath(int fd, PacketDevice& device, uint16_t mtu, uint16_t vlan_id);
  ~KernelPath() override;
  KernelPath(const KernelPath&) = delete;
  KernelPath& operator=(const KernelPath&) = delete;

  [[nodiscard]] bool take(const RxFrame& frame) override;
  // Something waits for to_kernel().
  [[nodiscard]] bool waits() const { return count_ != 0; }
  void to_kernel();
  // What the kernel has sent. MORE: there may be more; LOST: the device has been taken away, and nothing will come.
  enum class Left : uint8_t { NOTHING, MORE, LOST };
  [[nodiscard]] Left from_kernel();

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  [[nodiscard]] bool write(const RxFrame& frame);
  [[nodiscard]] bool add_tag(uint8_t*& frame, uint32_t& bytes) const;

  int fd_;
  PacketDevice& device_;
  uint16_t vlan_id_;
  uint32_t room_bytes_;  // of a frame in rooms_
  std::array<RxFrame, QUEUE_MAX> queue_;
  uint32_t first_ = 0;
  uint32_t count_ = 0;
  std::vector<uint8_t> rooms_;  // BURST frames of the kernel's
  Counts counts_;
};

}  // namespace penstock
