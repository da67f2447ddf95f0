// FrameTaker: who has the rest of a port that an engine shares: the kernel, by transport/engine/kernel_path.h; a fake
// in tests. Used by the engine's thread.
#pragma once

#include "src/net/packet_device.h"

namespace penstock {

class FrameTaker {
 public:
  virtual ~FrameTaker() = default;
  // True: it has the frame, and calls the device's rx_release() itself. False: it has no room, and counts that.
  [[nodiscard]] virtual bool take(const RxFrame& frame) = 0;
};

}  // namespace penstock
