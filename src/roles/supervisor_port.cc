// What the supervisor keeps of a port past the kernel: the kernel's end of it.
#include "src/roles/supervisor_state.h"
#include "src/transport/engine/kernel_tap.h"

namespace penstock {

// The interface stays, with all that is connected over it, from one server to the next, as long as it is to be the
// same.
Status Supervisor::keep_kernel_tap(const Settings& settings) {
  KernelTap wanted;
  if (settings.server_transport == TransportSetting::DPDK && settings.dpdk_exception) {
    wanted.device = settings.dpdk_exception_device;
    wanted.addresses = settings.dpdk_addresses;
    wanted.addresses.insert(wanted.addresses.end(), settings.dpdk_gateways.begin(), settings.dpdk_gateways.end());
  }
  if (wanted.device == kernel_tap_.device && wanted.addresses == kernel_tap_.addresses) return {};
  kernel_tap_ = {};
  if (wanted.device.empty()) return {};
  auto tap = open_kernel_tap(wanted.device);
  if (!tap) return std::unexpected(tap.error());
  wanted.fd = std::move(*tap);
  kernel_tap_ = std::move(wanted);
  return {};
}

}  // namespace penstock
