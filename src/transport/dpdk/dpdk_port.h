// DpdkPort: a DPDK port with as many queues as engines (dpdk_queue.h).
//
// Opened once, after start_dpdk(), by the control thread; it outlives the engines. A card with receive side scaling is
// told to deliver the frames of a connection to the queue where it lives (FlowSteering).
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/net/wire/ethernet.h"
#include "src/transport/dpdk/dpdk_queue.h"

#include <cstdint>
#include <memory>
#include <vector>

struct rte_eth_dev_info;

namespace penstock {

struct DpdkPortConfig {
  uint16_t mtu = 1'500;
  uint32_t holds_max = 8'192;  // frames that the engine of a queue may keep
  uint16_t queues = 1;
  // Whether it cuts large segments (TSO). It does not pay where the driver does it by the processor.
  enum class Cuts : uint8_t { NEVER, WHERE_IT_PAYS, WHERE_IT_CAN } cuts = Cuts::WHERE_IT_PAYS;
};

class DpdkPort final {
 public:
  static constexpr uint16_t QUEUES_MAX = 64;

  // The only port. The error is one line.
  [[nodiscard]] static Result<std::unique_ptr<DpdkPort>> open(const DpdkPortConfig& config);
  ~DpdkPort();
  DpdkPort(const DpdkPort&) = delete;
  DpdkPort& operator=(const DpdkPort&) = delete;

  // The address that an engine on it has. On net_tap the port's own belongs to the kernel's end.
  [[nodiscard]] const MacAddress& mac() const { return mac_; }
  // As long as the port.
  [[nodiscard]] PacketDevice& queue(size_t index) { return *queues_[index]; }
  // Room that the buffers of such a port take, for DpdkEalConfig::memory_mb.
  [[nodiscard]] static uint32_t memory_mb(const DpdkPortConfig& config);

  // Whether the other end is there, at last after `patience`. A client of memif asks its server once when it is
  // started, and is refused while the one before it is being forgotten: it is started anew until it is heard. Not in a
  // sandbox.
  [[nodiscard]] bool wait_for_link(Duration patience);

 private:
  DpdkPort() = default;
  [[nodiscard]] Status set_up(const DpdkPortConfig& config);
  [[nodiscard]] Status configure(const DpdkPortConfig& config, bool interrupts);
  void announce_cutting(const rte_eth_dev_info& info);
  [[nodiscard]] Status spread(uint16_t queues);
  [[nodiscard]] Status make_pools(const DpdkPortConfig& config);
  [[nodiscard]] Status make_queues(uint16_t count);
  void tame_tap(int fd);

  DpdkQueueShared shared_;
  std::vector<std::unique_ptr<DpdkQueue>> queues_;
  uint16_t rx_slots_ = 512;
  uint16_t tx_slots_ = 512;
  bool is_tap_ = false;
  bool scales_ = false;  // the card spreads by its table
  bool running_ = false;
  bool stays_open_ = false;  // to close it takes system calls that a sandbox has not; it ends with the process
  MacAddress mac_;
};

}  // namespace penstock
