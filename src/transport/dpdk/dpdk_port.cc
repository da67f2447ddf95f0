#include "src/transport/dpdk/dpdk_port.h"

#include "src/net/wire/byte_order.h"

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
#include <string>

namespace penstock {

namespace {

constexpr uint32_t PARTS_MAX = TxFrame::PARTS_MAX;
constexpr uint32_t POOL_CACHE = 128;
constexpr uint16_t FRAME_ROOM = RTE_MBUF_DEFAULT_BUF_SIZE;
constexpr uint16_t HEAD_ROOM = RTE_PKTMBUF_HEADROOM + 256;
constexpr uint32_t MBUF_BYTES = 256;  // of a buffer besides its room, rounded up
constexpr uint32_t PAGE_BYTES = 4'096;
constexpr size_t RSS_KEY_BYTES_MAX = 64;
// Payload of a large segment: what the length field of IP holds, less all that may stand before it; where it is copied,
// as much less as the buffers cost.
constexpr uint32_t LARGE_BYTES = UINT16_MAX - 40 - 60;
constexpr uint32_t LARGE_COPY_BYTES = 8 * RTE_MBUF_DEFAULT_DATAROOM;
constexpr uint64_t TX_CUTS = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM |
                             RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
constexpr uint64_t RSS_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP;

Status wrong(const std::string& what, int code) { return fail_errno("dpdk: " + what, code < 0 ? -code : code); }

// Of one queue.
constexpr uint32_t rx_count(uint32_t holds, uint32_t slots) {
  return holds + slots + 4 * DpdkQueue::BURST + 2 * POOL_CACHE;
}
// A slot of the driver's takes a buffer; what waits for one takes as many as `large` bytes of copied payload want.
constexpr uint32_t head_count(uint32_t slots, uint32_t large) {
  const uint32_t buffers = 1 + (large + RTE_MBUF_DEFAULT_DATAROOM - 1) / RTE_MBUF_DEFAULT_DATAROOM;
  return slots + buffers * (2 * DpdkQueue::BURST + DpdkQueue::BACKLOG_MAX) + 2 * POOL_CACHE;
}
constexpr uint32_t part_count(uint32_t slots) {
  return PARTS_MAX * (slots + 2 * DpdkQueue::BURST + DpdkQueue::BACKLOG_MAX) + 2 * POOL_CACHE;
}
// Of a port: besides, what its queues hand over.
constexpr uint32_t rx_count(uint32_t holds, uint32_t slots, uint32_t queues) {
  return queues * (rx_count(holds, slots) + (queues > 1 ? DpdkQueue::HANDED_OVER_MAX : 0));
}

bool is_driver(const rte_eth_dev_info& info, const char* name) { return std::strcmp(info.driver_name, name) == 0; }

}  // namespace

uint32_t DpdkPort::memory_mb(const DpdkPortConfig& config) {
  constexpr uint64_t SLOTS = 1'024;  // at most
  // A buffer is in one page, and two of a frame's do not fit.
  static_assert(FRAME_ROOM + MBUF_BYTES <= PAGE_BYTES && 2 * FRAME_ROOM > PAGE_BYTES);
  const uint64_t queues = config.queues;
  const uint64_t bytes = rx_count(config.holds_max, SLOTS, config.queues) * uint64_t{PAGE_BYTES} +
                         queues * head_count(SLOTS, config.cuts == DpdkPortConfig::Cuts::NEVER ? 0 : LARGE_COPY_BYTES) *
                             uint64_t{PAGE_BYTES} +
                         queues * part_count(SLOTS) * uint64_t{2 * MBUF_BYTES};
  return static_cast<uint32_t>(bytes >> 20) + 32;
}

Result<std::unique_ptr<DpdkPort>> DpdkPort::open(const DpdkPortConfig& config) {
  std::unique_ptr<DpdkPort> port(new DpdkPort);
  if (Status status = port->set_up(config); !status) return std::unexpected(std::move(status.error()));
  return port;
}

DpdkPort::~DpdkPort() {
  if (!running_ || stays_open_) return;
  for (const auto& queue : queues_) queue->free_buffers();
  rte_eth_dev_stop(shared_.port);
  rte_eth_dev_close(shared_.port);
}

Status DpdkPort::set_up(const DpdkPortConfig& config) {
  shared_.port = static_cast<uint16_t>(rte_eth_find_next(0));
  rte_eth_dev_info info;
  if (const int rc = rte_eth_dev_info_get(shared_.port, &info); rc != 0) return wrong("asking the port", rc);
  if (const uint16_t has = std::min(info.max_rx_queues, info.max_tx_queues); has < config.queues) {
    return fail("dpdk.queues = " + std::to_string(config.queues) + ", and the port has " + std::to_string(has) + " (" +
                info.driver_name + "): dpdk.queues = " + std::to_string(has) + ", or more in dpdk.device");
  }
  const bool is_virtual = std::strcmp(rte_bus_name(rte_dev_bus(info.device)), "vdev") == 0;
  is_tap_ = is_driver(info, "net_tap");
  // net_af_xdp sends the first buffer of a frame alone; what net_virtio_user sends is read by a process that has DPDK's
  // memory and no other of ours.
  shared_.features.copies_payload = !is_virtual || is_driver(info, "net_af_xdp") || is_driver(info, "net_virtio_user");
  scales_ = !is_virtual && config.queues > 1 && (info.flow_type_rss_offloads & RSS_TCP) != 0 && info.reta_size != 0;
  stays_open_ = is_driver(info, "net_vhost");
  rx_slots_ = std::clamp<uint16_t>(rx_slots_, info.rx_desc_lim.nb_min, std::max<uint16_t>(info.rx_desc_lim.nb_max, 64));
  tx_slots_ = std::clamp<uint16_t>(tx_slots_, info.tx_desc_lim.nb_min, std::max<uint16_t>(info.tx_desc_lim.nb_max, 64));
  if (config.cuts == DpdkPortConfig::Cuts::WHERE_IT_CAN ||
      (config.cuts == DpdkPortConfig::Cuts::WHERE_IT_PAYS && !is_tap_)) {
    announce_cutting(info);
  }
  if (Status made = make_pools(config); !made) return made;
  bool interrupts = true;
  if (!configure(config, true)) {
    interrupts = false;
    if (Status done = configure(config, false); !done) return done;
  }
  running_ = true;
  if (Status spreads = spread(config.queues); !spreads) return spreads;
  shared_.mtu = config.mtu;
  (void)rte_eth_dev_set_mtu(shared_.port, config.mtu);  // one that cannot be set is the driver's own
  (void)rte_eth_allmulticast_enable(shared_.port);      // neighbour discovery
  rte_ether_addr address;
  if (const int rc = rte_eth_macaddr_get(shared_.port, &address); rc != 0)
    return wrong("asking for its MAC address", rc);
  std::copy_n(address.addr_bytes, 6, mac_.bytes.begin());
  if (is_tap_) {
    mac_.bytes[5] ^= 1;
    mac_.bytes[0] |= 2;
  }
  if (Status made = make_queues(config.queues); !made) return made;
  for (uint16_t i = 0; interrupts && i < config.queues; ++i) {
    const int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(shared_.port, i);
    if (is_tap_) tame_tap(fd);
    if (Status set = queues_[i]->set_wait_fd(fd); !set) return set;
  }
  RTE_PER_LCORE(_lcore_id) = LCORE_ID_ANY;
  return {};
}

Status DpdkPort::configure(const DpdkPortConfig& config, bool interrupts) {
  rte_eth_dev_info info;
  if (const int rc = rte_eth_dev_info_get(shared_.port, &info); rc != 0) return wrong("asking the port", rc);
  rte_eth_conf conf;
  std::memset(&conf, 0, sizeof conf);
  conf.rxmode.mtu = config.mtu;
  conf.intr_conf.rxq = interrupts ? 1 : 0;
  // net_tap makes checksums in software, and we know most of them already.
  const bool trusted = !is_tap_;
  constexpr uint64_t TX_SUMS = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
  constexpr uint64_t RX_SUMS = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
  if (trusted && (info.tx_offload_capa & TX_SUMS) == TX_SUMS) {
    conf.txmode.offloads |= TX_SUMS;
    shared_.features.tx_ip_checksum = shared_.features.tx_tcp_checksum = true;
  }
  if (trusted && (info.rx_offload_capa & RX_SUMS) == RX_SUMS) conf.rxmode.offloads |= RX_SUMS;
  if (shared_.features.tx_large_v4_bytes != 0) conf.txmode.offloads |= TX_CUTS;
  if ((info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0) {
    conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  }
  std::array<uint8_t, RSS_KEY_BYTES_MAX> key;
  for (size_t i = 0; i < key.size(); i += 2) store_be16(&key[i], FlowSteering::KEY_WORD);
  if (scales_) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf = {.rss_key = key.data(),
                                 .rss_key_len = static_cast<uint8_t>(std::min<size_t>(info.hash_key_size, key.size())),
                                 .rss_hf = info.flow_type_rss_offloads & RSS_TCP};
  }
  int rc = rte_eth_dev_configure(shared_.port, config.queues, config.queues, &conf);
  if (rc != 0 && stays_open_)
    return wrong("its socket (iface= of dpdk.device) cannot be made: is its folder there?", rc);
  if (rc != 0) return wrong("configuring the port", rc);
  rc = rte_eth_dev_adjust_nb_rx_tx_desc(shared_.port, &rx_slots_, &tx_slots_);
  if (rc != 0) return wrong("the sizes of its queues", rc);
  const auto socket = static_cast<unsigned>(rte_eth_dev_socket_id(shared_.port));
  for (uint16_t i = 0; i < config.queues; ++i) {
    rc = rte_eth_rx_queue_setup(shared_.port, i, rx_slots_, socket, nullptr, shared_.rx_pool);
    if (rc != 0) return wrong("its receive queue " + std::to_string(i), rc);
    rc = rte_eth_tx_queue_setup(shared_.port, i, tx_slots_, socket, nullptr);
    if (rc != 0) return wrong("its send queue " + std::to_string(i), rc);
  }
  rc = rte_eth_dev_start(shared_.port);
  if (rc != 0) return wrong("starting the port", rc);
  return {};
}

// What the port can cut, if anything.
void DpdkPort::announce_cutting(const rte_eth_dev_info& info) {
  if ((info.tx_offload_capa & TX_CUTS) != TX_CUTS) return;
  uint32_t bytes = LARGE_BYTES;
  if (shared_.features.copies_payload) {
    const uint32_t buffers = info.tx_desc_lim.nb_seg_max == 0 ? UINT16_MAX : info.tx_desc_lim.nb_seg_max;
    if (buffers < 3) return;
    bytes = std::min(LARGE_COPY_BYTES, (buffers - 1) * RTE_MBUF_DEFAULT_DATAROOM);
  }
  shared_.features.tx_large_v4_bytes = bytes;
  if (is_tap_) {
    // It cuts packets of IPv4 alone, and takes a segment's link header for a part of the MTU.
    shared_.head_in_mtu = true;
  } else {
    shared_.features.tx_large_v6_bytes = bytes;
  }
}

// Where the card's table cannot be filled it delivers where it likes, and the queues hand over.
Status DpdkPort::spread(uint16_t queues) {
  shared_.steering = FlowSteering(queues);
  if (!scales_) return {};
  rte_eth_dev_info info;
  if (const int rc = rte_eth_dev_info_get(shared_.port, &info); rc != 0) return wrong("asking the port", rc);
  std::vector<rte_eth_rss_reta_entry64> table((info.reta_size + RTE_ETH_RETA_GROUP_SIZE - 1U) /
                                              RTE_ETH_RETA_GROUP_SIZE);
  for (uint16_t i = 0; i < info.reta_size; ++i) {
    rte_eth_rss_reta_entry64& group = table[i / RTE_ETH_RETA_GROUP_SIZE];
    group.mask |= uint64_t{1} << i % RTE_ETH_RETA_GROUP_SIZE;
    group.reta[i % RTE_ETH_RETA_GROUP_SIZE] = static_cast<uint16_t>(i % queues);
  }
  if (rte_eth_dev_rss_reta_update(shared_.port, table.data(), info.reta_size) == 0)
    shared_.steering = FlowSteering(queues, info.reta_size);
  return {};
}

Status DpdkPort::make_pools(const DpdkPortConfig& config) {
  const uint32_t queues = config.queues;
  const int socket = rte_eth_dev_socket_id(shared_.port);
  shared_.holds = rx_count(config.holds_max, rx_slots_);
  shared_.parts = part_count(tx_slots_);
  const uint32_t copied = shared_.features.copies_payload ? shared_.features.tx_large_v4_bytes : 0;
  shared_.rx_pool = rte_pktmbuf_pool_create("frames", rx_count(config.holds_max, rx_slots_, queues), POOL_CACHE, 0,
                                            FRAME_ROOM, socket);
  shared_.head_pool = rte_pktmbuf_pool_create("heads", queues * head_count(tx_slots_, copied), POOL_CACHE, 0,
                                              shared_.features.copies_payload ? FRAME_ROOM : HEAD_ROOM, socket);
  shared_.part_pool =
      rte_pktmbuf_pool_create("parts", queues * shared_.parts, POOL_CACHE, DpdkQueue::PART_NOTE_BYTES, 0, socket);
  if (shared_.rx_pool == nullptr || shared_.head_pool == nullptr || shared_.part_pool == nullptr) {
    return fail("dpdk: no memory for the buffers of the port; they take " + std::to_string(memory_mb(config)) +
                " MiB: more hugepages, fewer dpdk.queues, or dpdk.hugepages = 0");
  }
  return {};
}

Status DpdkPort::make_queues(uint16_t count) {
  std::vector<DpdkQueue*> all;
  for (uint16_t i = 0; i < count; ++i)
    all.push_back(queues_.emplace_back(std::make_unique<DpdkQueue>(shared_, i)).get());
  for (DpdkQueue* queue : all) {
    if (Status joined = queue->join(all); !joined) return joined;
  }
  return {};
}

// net_tap reads only when a signal, one for each frame, has said that there is something. What its handler does we can
// do, so that no signal ever comes.
void DpdkPort::tame_tap(int fd) {
  if (fd < 0) return;
  const int signal = ::fcntl(fd, F_GETSIG);
  struct sigaction action {};
  if (signal <= 0 || ::sigaction(signal, nullptr, &action) != 0) return;
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) return;
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags & ~O_ASYNC) != 0) return;
  shared_.tap_poke = action.sa_handler;
}

bool DpdkPort::wait_for_link(Duration patience) {
  constexpr uint32_t LOOK_US = 1'000;
  constexpr int64_t LOOKS_A_START = 200;
  for (int64_t look = 1; look * LOOK_US <= patience.us(); ++look) {
    rte_eth_link link{};
    if (rte_eth_link_get_nowait(shared_.port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP) return true;
    rte_delay_us_sleep(LOOK_US);
    if (look % LOOKS_A_START != 0) continue;
    (void)rte_eth_dev_stop(shared_.port);
    (void)rte_eth_dev_start(shared_.port);
  }
  return false;
}

}  // namespace penstock
