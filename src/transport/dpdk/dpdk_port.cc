#include "src/transport/dpdk/dpdk_port.h"

#include "src/base/assert.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <rte_bus.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

namespace penstock {

struct DpdkPort::PartNote {
  rte_mbuf_ext_shared_info shared;
  DpdkPort* port;  // nullptr: nobody wants to know
  uint32_t hold;
};

namespace {

constexpr uint32_t BURST = 64;
constexpr uint32_t PARTS_MAX = TxFrame::PARTS_MAX;
constexpr unsigned MAIN_LCORE = 0;  // see start_dpdk()
constexpr uint32_t POOL_CACHE = 128;
constexpr uint32_t TX_TRIES = 8;  // while the driver's ring is full, before frames wait for the next turn
constexpr uint32_t BACKLOG_MAX =
    4 * BURST;  // of frames: what cannot be put off (ACKs, ARP, the kernel's) waits as well
constexpr uint64_t BACKLOG_PER_SECOND = 50;  // they wait for a 50th of a second: then nobody is there
constexpr uint16_t FRAME_ROOM = RTE_MBUF_DEFAULT_BUF_SIZE;
constexpr uint16_t HEAD_ROOM = RTE_PKTMBUF_HEADROOM + 256;
constexpr uint32_t MBUF_BYTES = 256;  // of a buffer besides its room, rounded up

Status wrong(const std::string& what, int code) { return fail_errno("dpdk: " + what, code < 0 ? -code : code); }

constexpr uint32_t rx_count(uint32_t holds, uint32_t slots) { return holds + slots + 4 * BURST + 2 * POOL_CACHE; }
constexpr uint32_t head_count(uint32_t slots) { return slots + 2 * BURST + BACKLOG_MAX + 2 * POOL_CACHE; }
constexpr uint32_t part_count(uint32_t slots) { return PARTS_MAX * (slots + 2 * BURST + BACKLOG_MAX) + 2 * POOL_CACHE; }

}  // namespace

uint32_t DpdkPort::memory_mb(const DpdkPortConfig& config) {
  constexpr uint64_t SLOTS = 1'024;  // at most
  const uint64_t bytes = rx_count(config.holds_max, SLOTS) * (uint64_t{FRAME_ROOM} + MBUF_BYTES) +
                         head_count(SLOTS) * (uint64_t{FRAME_ROOM} + MBUF_BYTES) +
                         part_count(SLOTS) * uint64_t{2 * MBUF_BYTES};
  return static_cast<uint32_t>(bytes >> 20) + 32;
}

Result<std::unique_ptr<DpdkPort>> DpdkPort::open(const DpdkPortConfig& config) {
  std::unique_ptr<DpdkPort> port(new DpdkPort);
  if (Status status = port->set_up(config); !status) return std::unexpected(std::move(status.error()));
  return port;
}

DpdkPort::~DpdkPort() {
  if (!running_ || stays_open_) return;
  for (rte_mbuf* buffer : lent_) rte_pktmbuf_free(buffer);
  for (rte_mbuf* buffer : backlog_) rte_pktmbuf_free(buffer);
  rte_eth_dev_stop(port_);
  rte_eth_dev_close(port_);
}

Status DpdkPort::set_up(const DpdkPortConfig& config) {
  port_ = static_cast<uint16_t>(rte_eth_find_next(0));
  rte_eth_dev_info info;
  if (const int rc = rte_eth_dev_info_get(port_, &info); rc != 0) return wrong("asking the port", rc);
  const bool is_virtual = std::strcmp(rte_bus_name(rte_dev_bus(info.device)), "vdev") == 0;
  const bool is_tap = std::strcmp(info.driver_name, "net_tap") == 0;
  // net_af_xdp sends the first buffer of a frame alone; what net_virtio_user sends is read by a process that has DPDK's
  // memory and no other of ours.
  features_.copies_payload = !is_virtual || std::strcmp(info.driver_name, "net_af_xdp") == 0 ||
                             std::strcmp(info.driver_name, "net_virtio_user") == 0;
  stays_open_ = std::strcmp(info.driver_name, "net_vhost") == 0;
  rx_slots_ = std::clamp<uint16_t>(rx_slots_, info.rx_desc_lim.nb_min, std::max<uint16_t>(info.rx_desc_lim.nb_max, 64));
  tx_slots_ = std::clamp<uint16_t>(tx_slots_, info.tx_desc_lim.nb_min, std::max<uint16_t>(info.tx_desc_lim.nb_max, 64));
  if (Status made = make_pools(config); !made) return made;
  interrupts_ = true;
  if (!configure(config, true)) {
    interrupts_ = false;
    if (Status done = configure(config, false); !done) return done;
  }
  running_ = true;
  (void)rte_eth_dev_set_mtu(port_, config.mtu);  // one that cannot be set is the driver's own
  (void)rte_eth_allmulticast_enable(port_);      // neighbour discovery
  rte_ether_addr address;
  if (const int rc = rte_eth_macaddr_get(port_, &address); rc != 0) return wrong("asking for its MAC address", rc);
  std::copy_n(address.addr_bytes, 6, mac_.bytes.begin());
  if (is_tap) {
    mac_.bytes[5] ^= 1;
    mac_.bytes[0] |= 2;
  }
  if (interrupts_) wait_fd_ = rte_eth_dev_rx_intr_ctl_q_get_fd(port_, 0);
  if (is_tap) tame_tap();
  RTE_PER_LCORE(_lcore_id) = LCORE_ID_ANY;
  return {};
}

Status DpdkPort::configure(const DpdkPortConfig& config, bool interrupts) {
  rte_eth_dev_info info;
  if (const int rc = rte_eth_dev_info_get(port_, &info); rc != 0) return wrong("asking the port", rc);
  rte_eth_conf conf;
  std::memset(&conf, 0, sizeof conf);
  conf.rxmode.mtu = config.mtu;
  conf.intr_conf.rxq = interrupts ? 1 : 0;
  // net_tap makes checksums in software, and we know most of them already.
  const bool trusted = std::strcmp(info.driver_name, "net_tap") != 0;
  constexpr uint64_t TX_SUMS = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
  constexpr uint64_t RX_SUMS = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
  if (trusted && (info.tx_offload_capa & TX_SUMS) == TX_SUMS) {
    conf.txmode.offloads |= TX_SUMS;
    features_.tx_ip_checksum = features_.tx_tcp_checksum = true;
  }
  if (trusted && (info.rx_offload_capa & RX_SUMS) == RX_SUMS) conf.rxmode.offloads |= RX_SUMS;
  if ((info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0) {
    conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  }
  int rc = rte_eth_dev_configure(port_, 1, 1, &conf);
  if (rc != 0) return wrong("configuring the port", rc);
  rc = rte_eth_dev_adjust_nb_rx_tx_desc(port_, &rx_slots_, &tx_slots_);
  if (rc != 0) return wrong("the sizes of its queues", rc);
  const int socket = rte_eth_dev_socket_id(port_);
  rc = rte_eth_rx_queue_setup(port_, 0, rx_slots_, static_cast<unsigned>(socket), nullptr, rx_pool_);
  if (rc != 0) return wrong("its receive queue", rc);
  rc = rte_eth_tx_queue_setup(port_, 0, tx_slots_, static_cast<unsigned>(socket), nullptr);
  if (rc != 0) return wrong("its send queue", rc);
  rc = rte_eth_dev_start(port_);
  if (rc != 0) return wrong("starting the port", rc);
  return {};
}

Status DpdkPort::make_pools(const DpdkPortConfig& config) {
  const uint32_t frames = rx_count(config.holds_max, rx_slots_);
  const uint32_t parts = part_count(tx_slots_);
  const int socket = rte_eth_dev_socket_id(port_);
  rx_pool_ = rte_pktmbuf_pool_create("frames", frames, POOL_CACHE, 0, FRAME_ROOM, socket);
  head_pool_ = rte_pktmbuf_pool_create("heads", head_count(tx_slots_), POOL_CACHE, 0,
                                       features_.copies_payload ? FRAME_ROOM : HEAD_ROOM, socket);
  static_assert(sizeof(PartNote) % RTE_MBUF_PRIV_ALIGN == 0);
  part_pool_ = rte_pktmbuf_pool_create("parts", parts, POOL_CACHE, sizeof(PartNote), 0, socket);
  if (rx_pool_ == nullptr || head_pool_ == nullptr || part_pool_ == nullptr) {
    return fail("dpdk: no memory for the buffers of the port; they take " + std::to_string(memory_mb(config)) +
                " MiB: more hugepages, or dpdk.hugepages = 0");
  }
  lent_.resize(frames);
  free_tokens_.reserve(frames);
  for (uint32_t i = frames; i > 0; --i) free_tokens_.push_back(i - 1);
  done_.reserve(parts);
  backlog_.reserve(BACKLOG_MAX);
  return {};
}

// net_tap reads only when a signal, one for each frame, has said that there is something. What its handler does we can
// do, so that no signal ever comes.
void DpdkPort::tame_tap() {
  if (wait_fd_ < 0) return;
  const int signal = ::fcntl(wait_fd_, F_GETSIG);
  struct sigaction action {};
  if (signal <= 0 || ::sigaction(signal, nullptr, &action) != 0) return;
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) return;
  const int flags = ::fcntl(wait_fd_, F_GETFL);
  if (flags < 0 || ::fcntl(wait_fd_, F_SETFL, flags & ~O_ASYNC) != 0) return;
  tap_poke_ = action.sa_handler;
}

bool DpdkPort::wait_for_link(Duration patience) {
  constexpr uint32_t LOOK_US = 1'000;
  constexpr int64_t LOOKS_A_START = 200;
  for (int64_t look = 1; look * LOOK_US <= patience.us(); ++look) {
    rte_eth_link link{};
    if (rte_eth_link_get_nowait(port_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP) return true;
    rte_delay_us_sleep(LOOK_US);
    if (look % LOOKS_A_START != 0) continue;
    (void)rte_eth_dev_stop(port_);
    (void)rte_eth_dev_start(port_);
  }
  return false;
}

void DpdkPort::start() {
  // The lcore of the thread that opened the port, with its caches in front of the pools, is this one's from here on.
  // Not by rte_thread_register(), which asks /sys for the core's memory: the sandbox has no such call.
  RTE_PER_LCORE(_lcore_id) = MAIN_LCORE;
}

size_t DpdkPort::rx_burst(std::span<RxFrame> out) {
  std::array<rte_mbuf*, BURST> buffers;
  const size_t wanted = std::min({out.size(), size_t{BURST}, free_tokens_.size()});
  if (tap_poke_ != nullptr) tap_poke_(0);
  const size_t got = rte_eth_rx_burst(port_, 0, buffers.data(), static_cast<uint16_t>(wanted));
  size_t count = 0;
  for (size_t i = 0; i < got; ++i) {
    rte_mbuf* buffer = buffers[i];
    if (buffer->nb_segs != 1 && rte_pktmbuf_linearize(buffer) != 0) {  // larger than the MTU: not for us
      rte_pktmbuf_free(buffer);
      continue;
    }
    const uint32_t token = free_tokens_.back();
    free_tokens_.pop_back();
    lent_[token] = buffer;
    out[count++] = {
        .data = rte_pktmbuf_mtod(buffer, const uint8_t*),
        .size = rte_pktmbuf_data_len(buffer),
        .token = token,
        .ip_checksum_good = (buffer->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD,
        .tcp_checksum_good = (buffer->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD};
  }
  return count;
}

void DpdkPort::rx_release(uint32_t token) {
  rte_pktmbuf_free(lent_[token]);
  lent_[token] = nullptr;
  free_tokens_.push_back(token);
}

// False: some of it still waits.
bool DpdkPort::push_backlog() {
  const size_t sent = rte_eth_tx_burst(port_, 0, backlog_.data(), static_cast<uint16_t>(backlog_.size()));
  backlog_.erase(backlog_.begin(), backlog_.begin() + static_cast<ptrdiff_t>(sent));
  if (backlog_.empty()) return true;
  const uint64_t now = rte_get_tsc_cycles();
  if (sent != 0) backlog_since_ = now;
  if (now - backlog_since_ < rte_get_tsc_hz() / BACKLOG_PER_SECOND) return false;
  for (rte_mbuf* frame : backlog_) rte_pktmbuf_free(frame);  // lost on the way, as the engine sees it
  backlog_.clear();
  return true;
}

size_t DpdkPort::tx_burst(std::span<const TxFrame> frames) {
  std::array<rte_mbuf*, BURST> buffers;
  size_t done = 0;
  while (done < frames.size()) {
    const bool ready = tx_ready();
    const size_t room = ready ? BURST : std::min<size_t>(BURST, BACKLOG_MAX - backlog_.size());
    const size_t wanted = std::min(frames.size() - done, room);
    size_t made = 0;
    while (made < wanted && (buffers[made] = make_frame(frames[done + made])) != nullptr) ++made;
    size_t sent = 0;
    for (uint32_t tries = 0; ready && sent < made && tries < TX_TRIES; ++tries) {
      sent += rte_eth_tx_burst(port_, 0, &buffers[sent], static_cast<uint16_t>(made - sent));
    }
    if (ready && sent < made) backlog_since_ = rte_get_tsc_cycles();
    backlog_.insert(backlog_.end(), buffers.begin() + sent, buffers.begin() + made);
    done += made;
    if (made == 0 || made < wanted) break;
  }
  return done;
}

// The engine takes it for refused, and counts its holds itself.
void DpdkPort::drop(rte_mbuf* frame) {
  for (rte_mbuf* part = frame->next; part != nullptr; part = part->next) {
    if (!RTE_MBUF_HAS_EXTBUF(part)) continue;
    static_cast<PartNote*>(rte_mbuf_to_priv(part))->port = nullptr;
    --parts_out_;
  }
  rte_pktmbuf_free(frame);
}

// nullptr: no buffer is free.
rte_mbuf* DpdkPort::make_frame(const TxFrame& frame) {
  rte_mbuf* head = rte_pktmbuf_alloc(head_pool_);
  if (head == nullptr) return nullptr;
  const bool whole_copy = frame.head_bytes > rte_pktmbuf_tailroom(head);  // the answer to a large echo request
  if (whole_copy) {
    rte_pktmbuf_free(head);
    head = rte_pktmbuf_alloc(rx_pool_);
    if (head == nullptr) return nullptr;
  }
  char* room = rte_pktmbuf_append(head, frame.head_bytes);
  if (room == nullptr) {
    rte_pktmbuf_free(head);
    return nullptr;
  }
  std::memcpy(room, frame.head, frame.head_bytes);
  for (size_t i = 0; i < frame.part_count; ++i) {
    if (features_.copies_payload ? copy(head, frame.parts[i]) : attach(head, frame.parts[i])) continue;
    drop(head);
    return nullptr;
  }
  if (frame.fill_ip_checksum || frame.fill_tcp_checksum) {
    const auto ip_bytes = static_cast<uint64_t>(frame.tcp_offset - frame.ip_offset);
    head->tx_offload = rte_mbuf_tx_offload(frame.ip_offset, ip_bytes, 0, 0, 0, 0, 0);
    head->ol_flags |= frame.fill_ip_checksum ? RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4
                      : ip_bytes == 20       ? RTE_MBUF_F_TX_IPV4
                                             : RTE_MBUF_F_TX_IPV6;
    if (frame.fill_tcp_checksum) head->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
  }
  return head;
}

bool DpdkPort::attach(rte_mbuf* head, const TxPart& part) {
  rte_mbuf* buffer = rte_pktmbuf_alloc(part_pool_);
  if (buffer == nullptr) return false;
  auto* note = static_cast<PartNote*>(rte_mbuf_to_priv(buffer));
  note->shared.free_cb = &DpdkPort::part_freed;
  note->shared.fcb_opaque = note;
  rte_mbuf_ext_refcnt_set(&note->shared, 1);
  note->port = this;
  note->hold = part.hold;
  ++parts_out_;
  auto* data = const_cast<uint8_t*>(part.data);
  // No address for DMA: drivers of virtual devices read by the processor.
  rte_pktmbuf_attach_extbuf(buffer, data, RTE_BAD_IOVA, static_cast<uint16_t>(part.size), &note->shared);
  buffer->data_off = 0;
  buffer->data_len = static_cast<uint16_t>(part.size);
  buffer->pkt_len = part.size;
  const int chained = rte_pktmbuf_chain(head, buffer);
  ASSERT(chained == 0);  // far fewer than a chain may have
  return true;
}

bool DpdkPort::copy(rte_mbuf* head, const TxPart& part) {
  char* room = rte_pktmbuf_append(head, static_cast<uint16_t>(part.size));
  if (room == nullptr) return false;
  std::memcpy(room, part.data, part.size);
  return true;
}

void DpdkPort::part_freed(void*, void* opaque) {
  const auto* note = static_cast<PartNote*>(opaque);
  if (note->port == nullptr) return;
  --note->port->parts_out_;
  note->port->done_.push_back(note->hold);
}

size_t DpdkPort::tx_done(std::span<uint32_t> holds) {
  // A driver may keep what it has sent until its ring is full; where it cannot be told to give it back, that is when.
  if (done_.empty() && parts_out_ != 0) (void)rte_eth_tx_done_cleanup(port_, 0, 0);
  const size_t count = std::min(done_.size(), holds.size());
  std::copy_n(done_.end() - static_cast<ptrdiff_t>(count), count, holds.begin());
  done_.resize(done_.size() - count);
  return count;
}

int DpdkPort::begin_wait() {
  if (wait_fd_ < 0) return -1;
  if (tap_poke_ != nullptr) return wait_fd_;
  if (rte_eth_dev_rx_intr_enable(port_, 0) != 0) return -1;
  return rte_eth_rx_queue_count(port_, 0) > 0 ? -1 : wait_fd_;  // came before interrupts were on
}

void DpdkPort::end_wait() {
  if (wait_fd_ < 0 || tap_poke_ != nullptr) return;
  (void)rte_eth_dev_rx_intr_disable(port_, 0);
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t drained = ::read(wait_fd_, &count, sizeof count);
}

}  // namespace penstock
