// DPDK's environment (EAL), initialised from the configuration instead of a command line. Once in a process.
//
// Used by the server role while it still has its privileges and one thread. The environment makes a thread of its own,
// which waits for interrupts; run_in_driver_thread() reaches it, so that the sandbox can be entered there as well.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <functional>
#include <string>

namespace penstock {

struct DpdkEalConfig {
  std::string device;  // "net_tap0,iface=dtap0", or the address of a card: "0000:03:00.0"
  bool hugepages = true;
  uint32_t memory_mb = 64;  // without hugepages: what is reserved
};

// Afterwards the device is a port. The error is one line with the fix.
[[nodiscard]] Status start_dpdk(const DpdkEalConfig& config);

// How many threads that start_dpdk() has made.
inline constexpr int DPDK_THREADS = 1;
// Runs `job` there and waits for its end. Error: the thread does not answer.
[[nodiscard]] Status run_in_driver_thread(const std::function<void()>& job);

// The version that is linked: "DPDK 22.11.11".
[[nodiscard]] const char* dpdk_version();

}  // namespace penstock
