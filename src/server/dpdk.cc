#include "src/server/dpdk.h"

#ifdef PENSTOCK_DPDK

#include "src/net/wire/checksum.h"
#include "src/transport/dpdk/dpdk_eal.h"
#include "src/transport/dpdk/dpdk_port.h"
#include "src/transport/dpdk/driver_threads.h"
#include "src/transport/engine/engine_transport.h"
#include "src/transport/engine/kernel_tap.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <sys/random.h>

namespace penstock {
namespace {

IpAddress to_ip(const InterfaceAddress& address) {
  if (address.v6) return IpAddress::v6(address.ip.data());
  return IpAddress::v4(address.ip[0], address.ip[1], address.ip[2], address.ip[3]);
}

NetAddresses addresses_of(const Settings& settings, const MacAddress& mac) {
  NetAddresses out;
  out.mac = mac;
  out.mtu = static_cast<uint16_t>(settings.dpdk_mtu);
  out.vlan_id = static_cast<uint16_t>(settings.dpdk_vlan);
  for (const InterfaceAddress& address : settings.dpdk_addresses) {
    (address.v6 ? out.v6 : out.v4) = to_ip(address);
    (address.v6 ? out.v6_prefix_bits : out.v4_prefix_bits) = address.prefix_bits;
  }
  for (const InterfaceAddress& gateway : settings.dpdk_gateways) {
    (gateway.v6 ? out.v6_gateway : out.v4_gateway) = to_ip(gateway);
  }
  return out;
}

constexpr uint64_t SEGMENT_HEADS = 40 + 20 + 12;  // IPv6, TCP, timestamps

class Port final : public DpdkServerPort {
 public:
  Port(const Settings& settings, std::unique_ptr<DpdkPort> port, std::unique_ptr<DriverThreads> threads,
       uint32_t queues, uint32_t holds, UniqueFd kernel_tap, bool heard_by_two)
      : port_(std::move(port)),
        threads_(std::move(threads)),
        kernel_tap_(std::move(kernel_tap)),
        heard_by_two_(heard_by_two) {
    options_.name = "dpdk";
    options_.spin = settings.dpdk_spin;
    options_.net.addresses = addresses_of(settings, port_->mac());
    options_.net.limits.receive_holds_max = holds;
    // Of the host, whatever its engines are.
    options_.net.limits.replies_per_second = std::max(options_.net.limits.replies_per_second / queues, 1U);
    options_.kernel_fd = kernel_tap_.get();
    options_.heard_by_two = &heard_by_two_;
    for (uint64_t& word : options_.net.secret) {
      while (::getrandom(&word, sizeof word, 0) != sizeof word) {
      }
    }
  }

  [[nodiscard]] Status set_up() const {
    return kernel_tap_.valid() ? set_up_kernel_tap(kernel_tap_.get(), options_.net.addresses) : Status();
  }
  Result<std::unique_ptr<Transport>> transport(uint32_t reactor, const TransportOptions& options,
                                               MonoTime now) override {
    EngineOptions engine = options_;
    engine.transport = options;
    engine.first = reactor == 0;
    return EngineTransport::open(port_->queue(reactor), engine, now);
  }
  void set_heard_by_two(bool heard) override { heard_by_two_.store(heard, std::memory_order_relaxed); }
  int thread_count() const override { return threads_->count(); }
  Status run_in_threads(const std::function<void()>& job) override { return threads_->run(job); }

 private:
  std::unique_ptr<DpdkPort> port_;
  std::unique_ptr<DriverThreads> threads_;
  UniqueFd kernel_tap_;
  std::atomic<bool> heard_by_two_;
  EngineOptions options_;
};

}  // namespace

BodySums dpdk_body_sums(const Settings& settings) {
  if (settings.server_transport != TransportSetting::DPDK) return {};
  return {.stride = static_cast<uint32_t>(settings.dpdk_mtu - SEGMENT_HEADS),
          .sum = [](std::span<const uint8_t> bytes) { return internet_sum(bytes).value; }};
}

Result<std::unique_ptr<DpdkServerPort>> DpdkServerPort::open(const Settings& settings, uint32_t queues,
                                                             UniqueFd kernel_tap, bool heard_by_two) {
  if (queues > DpdkPort::QUEUES_MAX)
    return fail("dpdk.queues: a port has " + std::to_string(DpdkPort::QUEUES_MAX) + " at most");
  using Cuts = DpdkPortConfig::Cuts;
  DpdkPortConfig config{.mtu = static_cast<uint16_t>(settings.dpdk_mtu),
                        .queues = static_cast<uint16_t>(queues),
                        .cuts = settings.dpdk_tso == SegmentationSetting::OFF  ? Cuts::NEVER
                                : settings.dpdk_tso == SegmentationSetting::ON ? Cuts::WHERE_IT_CAN
                                                                               : Cuts::WHERE_IT_PAYS};
  const uint32_t holds = config.holds_max;
  config.holds_max += KernelPath::QUEUE_MAX;
  if (Status started = start_dpdk({.device = settings.dpdk_device,
                                   .hugepages = settings.dpdk_hugepages,
                                   .memory_mb = DpdkPort::memory_mb(config),
                                   .queues = config.queues});
      !started) {
    return std::unexpected(std::move(started.error()));
  }
  Result<std::unique_ptr<DpdkPort>> port = DpdkPort::open(config);
  if (!port) return std::unexpected(std::move(port.error()));
  Result<std::unique_ptr<DriverThreads>> threads = DriverThreads::find(settings.dpdk_device);
  if (!threads) return std::unexpected(std::move(threads.error()));
  auto opened = std::make_unique<Port>(settings, std::move(*port), std::move(*threads), queues, holds,
                                       std::move(kernel_tap), heard_by_two);
  if (Status set = opened->set_up(); !set) return std::unexpected(std::move(set.error()));
  return opened;
}

}  // namespace penstock

#else

namespace penstock {

BodySums dpdk_body_sums(const Settings&) { return {}; }

Result<std::unique_ptr<DpdkServerPort>> DpdkServerPort::open(const Settings&, uint32_t, UniqueFd, bool) {
  return fail("this build has no dpdk transport");
}

}  // namespace penstock

#endif
