// DPDK's environment (EAL), initialised from the configuration instead of a command line. Once in a process.
//
// Used by the server role while it still has its privileges and one thread. It makes threads of its own:
// driver_threads.h.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <string>

namespace penstock {

struct DpdkEalConfig {
  std::string device;  // "net_tap0,iface=dtap0", or the address of a card: "0000:03:00.0"
  bool hugepages = true;
  uint32_t memory_mb = 64;  // without hugepages: what is reserved
  uint16_t queues = 1;      // told to the driver where the device's text does not say
};

// Afterwards the device is a port. The error is one line with the fix.
[[nodiscard]] Status start_dpdk(const DpdkEalConfig& config);

// What stands behind `key` in a device's text: of "net_vhost0,iface=/run/x" and iface, "/run/x"; else empty.
[[nodiscard]] std::string device_option(const std::string& device, const std::string& key);

// The version that is linked: "DPDK 22.11.11".
[[nodiscard]] const char* dpdk_version();

}  // namespace penstock
