// DpdkQueue: one queue of a DPDK port, in both directions, as the PacketDevice of one engine.
//
// Made and owned by its DpdkPort; used by one reactor's thread from start() on. Frames that came in are lent out as
// DPDK's own buffers; frames that go out are a head of ours and, for virtual devices, buffers attached to the memory
// that holds the payload, which is named by tx_done() when the driver has let go of it. A card reads by DMA, which
// reaches only DPDK's memory: there the payload is copied into it.
//
// Of several queues each is the home of the connections that FlowSteering names, whether or not the port delivers their
// frames here: a frame of another queue's is handed over, through a ring for each pair, and who sleeps there is woken;
// what is for all goes to each as a copy. A full ring, or no buffer for a copy, loses the frame as a full queue of the
// port would, and is counted.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"
#include "src/net/packet_device.h"
#include "src/net/wire/flow_steering.h"

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

namespace penstock {

// What the queues of a port have in common. Made by the port, and unchanged once they run.
struct DpdkQueueShared {
  uint16_t port = 0;
  DeviceFeatures features;
  rte_mempool* rx_pool = nullptr;
  rte_mempool* head_pool = nullptr;
  rte_mempool* part_pool = nullptr;
  uint32_t holds = 0;               // frames that one queue may lend out
  uint32_t parts = 0;               // … may have at the driver
  void (*tap_poke)(int) = nullptr;  // tells net_tap that a frame may be there
  FlowSteering steering{1};
  bool head_in_mtu = false;  // a segment that the driver cuts has to fit the MTU with its link header
  uint16_t mtu = 0;
};

class DpdkQueue final : public PacketDevice {
 public:
  static constexpr uint32_t BURST = 64;
  static constexpr uint32_t BACKLOG_MAX =
      4 * BURST;  // of frames: what cannot be put off (ACKs, ARP, the kernel's) waits as well
  // Handed over to a queue and not yet taken: as many of each other one.
  static constexpr uint32_t HANDED_OVER_MAX = 1'024;
  // Beside each buffer that is attached to payload.
  struct PartNote;
  static const uint16_t PART_NOTE_BYTES;

  // `shared` outlives it.
  DpdkQueue(const DpdkQueueShared& shared, uint16_t index);
  ~DpdkQueue() override;
  // `all` are the queues of the port, this one among them. Where there are several: what they hand over to each other.
  [[nodiscard]] Status join(std::span<DpdkQueue* const> all);
  // Readable when a frame is there; -1: the driver has no such thing. The port's, when it runs.
  [[nodiscard]] Status set_wait_fd(int fd);
  // Gives back all buffers. REQUIRES: nobody uses it any more.
  void free_buffers();

  [[nodiscard]] DeviceFeatures features() const override { return shared_.features; }
  [[nodiscard]] const DeviceCounts* counts() const override { return &counts_; }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override;
  void rx_release(uint32_t token) override;
  [[nodiscard]] bool tx_ready() override { return backlog_.empty() || push_backlog(); }
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override;
  [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override;
  void start() override;
  [[nodiscard]] int begin_wait() override;
  void end_wait() override;

 private:
  static void part_freed(void* address, void* note);

  [[nodiscard]] size_t take_own(std::span<RxFrame> out);
  [[nodiscard]] size_t take_handed_over(std::span<RxFrame> out);
  [[nodiscard]] bool is_for_us(rte_mbuf* frame);
  void hand_over(rte_mbuf* frame, uint16_t to);
  void wake_others();
  [[nodiscard]] bool anything_handed_over() const;
  [[nodiscard]] int wait_for_port();
  void lend(rte_mbuf* frame, RxFrame& out);
  [[nodiscard]] bool push_backlog();
  void drop(rte_mbuf* frame);
  [[nodiscard]] rte_mbuf* make_frame(const TxFrame& frame);
  [[nodiscard]] bool attach(rte_mbuf* head, const TxPart& part);
  void ask_offloads(rte_mbuf* head, const TxFrame& frame) const;
  [[nodiscard]] size_t prepare(std::span<rte_mbuf*> frames);
  [[nodiscard]] bool copy(rte_mbuf* head, const TxPart& part);

  const DpdkQueueShared& shared_;
  uint16_t index_;
  int wait_fd_ = -1;             // the port's
  std::vector<rte_mbuf*> lent_;  // by token
  std::vector<uint32_t> free_tokens_;
  std::vector<uint32_t> done_;      // holds that were let go of
  uint32_t parts_out_ = 0;          // at the driver
  std::vector<rte_mbuf*> backlog_;  // made, and not yet taken by the driver
  uint64_t backlog_since_ = 0;      // cycles, of its last progress
  DeviceCounts counts_;

  // Of several queues.
  std::vector<DpdkQueue*> all_;
  std::vector<rte_ring*> from_;  // by the queue that hands over; nullptr: our own place
  std::vector<uint8_t> to_wake_;
  bool any_to_wake_ = false;
  uint16_t first_ring_ = 0;  // whose turn it is
  UniqueFd bell_;            // rung by others while sleeping_
  UniqueFd waits_;           // the epoll of both, where the port has a descriptor
  // Set before the rings are looked at for the last time, read after something was put into one: both in the one order
  // of all seq_cst operations, so that one of the two sees the other.
  std::atomic<bool> sleeping_{false};
};

}  // namespace penstock
