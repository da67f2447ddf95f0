// The port past the kernel, where server.transport = dpdk: opened by prepare(), while the process has its privileges.
#pragma once

#include "cache/body.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"
#include "src/config/settings.h"
#include "src/transport/transport.h"

#include <functional>
#include <memory>

namespace penstock {

// The sums that a body is to have where penstock makes the checksums of its segments itself (SC13): as much as a
// segment of either IP version may carry. None with another transport.
[[nodiscard]] BodySums dpdk_body_sums(const Settings& settings);

class DpdkServerPort {
 public:
  // `queues`: one for each reactor. Error: one line with the fix; also where this build is without DPDK.
  // `kernel_tap`: what shares the port with the kernel (transport/engine/kernel_tap.h); invalid: nothing.
  // `heard_by_two`: another process has it open as well, see set_heard_by_two().
  [[nodiscard]] static Result<std::unique_ptr<DpdkServerPort>> open(const Settings& settings, uint32_t queues,
                                                                    UniqueFd kernel_tap, bool heard_by_two);
  virtual ~DpdkServerPort() = default;

  // The transport of one reactor, once. The port outlives it.
  [[nodiscard]] virtual Result<std::unique_ptr<Transport>> transport(uint32_t reactor, const TransportOptions& options,
                                                                     MonoTime now) = 0;
  // Whether another process hears what comes to the port as well (net/port_handover.h), from the reactors' next turns
  // on.
  virtual void set_heard_by_two(bool heard) = 0;
  // Threads that the driver's environment has made, and the way to run something in each.
  [[nodiscard]] virtual int thread_count() const = 0;
  [[nodiscard]] virtual Status run_in_threads(const std::function<void()>& job) = 0;
};

}  // namespace penstock
