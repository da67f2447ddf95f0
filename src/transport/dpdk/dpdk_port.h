// DpdkPort: one queue of a DPDK port as the PacketDevice of an engine.
//
// Opened once, after start_dpdk(), by the control thread; used by one reactor's thread from start() on. Frames that
// came in are lent out as DPDK's own buffers; frames that go out are a head of ours and, for virtual devices, buffers
// attached to the memory that holds the payload, which is named by tx_done() when the driver has let go of it. A card
// reads by DMA, which reaches only DPDK's memory: there the payload is copied into it.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/net/packet_device.h"
#include "src/net/wire/ethernet.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

struct rte_mbuf;
struct rte_mempool;

namespace penstock {

struct DpdkPortConfig {
  uint16_t mtu = 1'500;
  uint32_t holds_max = 8'192;  // frames that the engine may keep
};

class DpdkPort final : public PacketDevice {
 public:
  // The only port. The error is one line.
  [[nodiscard]] static Result<std::unique_ptr<DpdkPort>> open(const DpdkPortConfig& config);
  ~DpdkPort() override;

  // The address that an engine on it has. On net_tap the port's own belongs to the kernel's end.
  [[nodiscard]] const MacAddress& mac() const { return mac_; }
  // Room that the buffers of such a port take, for DpdkEalConfig::memory_mb.
  [[nodiscard]] static uint32_t memory_mb(const DpdkPortConfig& config);

  // Whether the other end is there, at last after `patience`. A client of memif asks its server once when it is
  // started, and is refused while the one before it is being forgotten: it is started anew until it is heard. Not in a
  // sandbox.
  [[nodiscard]] bool wait_for_link(Duration patience);

  [[nodiscard]] DeviceFeatures features() const override { return features_; }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override;
  void rx_release(uint32_t token) override;
  [[nodiscard]] bool tx_ready() override { return backlog_.empty() || push_backlog(); }
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override;
  [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override;
  void start() override;
  [[nodiscard]] int begin_wait() override;
  void end_wait() override;

 private:
  // Beside each buffer that is attached to payload.
  struct PartNote;
  static void part_freed(void* address, void* note);

  DpdkPort() = default;
  [[nodiscard]] Status set_up(const DpdkPortConfig& config);
  [[nodiscard]] Status configure(const DpdkPortConfig& config, bool interrupts);
  [[nodiscard]] Status make_pools(const DpdkPortConfig& config);
  void tame_tap();
  [[nodiscard]] bool push_backlog();
  void drop(rte_mbuf* frame);
  [[nodiscard]] rte_mbuf* make_frame(const TxFrame& frame);
  [[nodiscard]] bool attach(rte_mbuf* head, const TxPart& part);
  [[nodiscard]] bool copy(rte_mbuf* head, const TxPart& part);

  uint16_t port_ = 0;
  uint16_t rx_slots_ = 512;
  uint16_t tx_slots_ = 512;
  bool running_ = false;
  bool stays_open_ = false;  // to close it takes system calls that a sandbox has not; it ends with the process
  bool interrupts_ = false;
  int wait_fd_ = -1;
  void (*tap_poke_)(int) = nullptr;  // tells net_tap that a frame may be there
  MacAddress mac_;
  DeviceFeatures features_;
  rte_mempool* rx_pool_ = nullptr;
  rte_mempool* head_pool_ = nullptr;
  rte_mempool* part_pool_ = nullptr;
  std::vector<rte_mbuf*> lent_;  // by token
  std::vector<uint32_t> free_tokens_;
  std::vector<uint32_t> done_;      // holds that were let go of
  uint32_t parts_out_ = 0;          // at the driver
  std::vector<rte_mbuf*> backlog_;  // made, and not yet taken by the driver
  uint64_t backlog_since_ = 0;      // cycles, of its last progress
};

}  // namespace penstock
