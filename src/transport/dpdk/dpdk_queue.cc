// Invariants:
//  - A ring has one who puts in, the queue that it is from, and one who takes out.
//  - A buffer that was handed over is its new owner's alone; who is through with it gives it to the pool, whose caches
//    are by thread (start()).
#include "src/transport/dpdk/dpdk_queue.h"

#include "src/base/assert.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <string>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace penstock {

struct DpdkQueue::PartNote {
  rte_mbuf_ext_shared_info shared;
  DpdkQueue* queue;  // nullptr: nobody wants to know
  uint32_t hold;
};

const uint16_t DpdkQueue::PART_NOTE_BYTES = sizeof(PartNote);

namespace {

constexpr uint32_t TX_TRIES = 8;             // while the driver's ring is full, before frames wait for the next turn
constexpr uint64_t BACKLOG_PER_SECOND = 50;  // they wait for a 50th of a second: then nobody is there
constexpr uint32_t OVERHEARD = 1;            // in the user's field of a buffer that was handed over

Status watch(int epoll, int fd) {
  epoll_event interest{.events = EPOLLIN, .data = {}};
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) != 0) return fail_errno("dpdk: watching a queue of the port");
  return {};
}

}  // namespace

DpdkQueue::DpdkQueue(const DpdkQueueShared& shared, uint16_t index) : shared_(shared), index_(index) {
  static_assert(sizeof(PartNote) % RTE_MBUF_PRIV_ALIGN == 0);
  lent_.resize(shared.holds);
  free_tokens_.reserve(shared.holds);
  for (uint32_t i = shared.holds; i > 0; --i) free_tokens_.push_back(i - 1);
  done_.reserve(shared.parts);
  backlog_.reserve(BACKLOG_MAX);
}

DpdkQueue::~DpdkQueue() {
  for (rte_ring* ring : from_) rte_ring_free(ring);
}

Status DpdkQueue::join(std::span<DpdkQueue* const> all) {
  if (all.size() < 2) return {};
  all_.assign(all.begin(), all.end());
  to_wake_.resize(all.size());
  const auto frames = static_cast<unsigned>(HANDED_OVER_MAX / (all.size() - 1));
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string name = "over" + std::to_string(i) + "to" + std::to_string(index_);
    from_.push_back(i == index_ ? nullptr
                                : rte_ring_create(name.c_str(), frames, rte_eth_dev_socket_id(shared_.port),
                                                  RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ));
    if (i != index_ && from_.back() == nullptr) return fail("dpdk: no memory for what its queues hand over");
  }
  bell_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!bell_.valid()) return fail_errno("eventfd for a queue of the port");
  return {};
}

Status DpdkQueue::set_wait_fd(int fd) {
  wait_fd_ = fd;
  if (fd < 0 || all_.empty()) return {};
  waits_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!waits_.valid()) return fail_errno("epoll_create1");
  if (Status watched = watch(waits_.get(), fd); !watched) return watched;
  return watch(waits_.get(), bell_.get());
}

void DpdkQueue::free_buffers() {
  for (rte_mbuf*& buffer : lent_) {
    rte_pktmbuf_free(buffer);
    buffer = nullptr;
  }
  for (rte_mbuf* buffer : backlog_) rte_pktmbuf_free(buffer);
  backlog_.clear();
  for (rte_ring* ring : from_) {
    void* buffer = nullptr;
    while (ring != nullptr && rte_ring_sc_dequeue(ring, &buffer) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(buffer));
  }
}

void DpdkQueue::start() {
  // An lcore's number, with its caches in front of the pools, is this thread's from here on: the first that of the
  // thread that opened the port, the others such as no thread of DPDK's has. Not by rte_thread_register(), which asks
  // /sys for the core's memory: the sandbox has no such call.
  RTE_PER_LCORE(_lcore_id) = index_;
}

// ---- in

size_t DpdkQueue::rx_burst(std::span<RxFrame> out) {
  if (all_.empty()) return take_own(out);
  // Half of the room at least is for the port, so that neither keeps the other waiting.
  size_t count = take_handed_over(out.first(out.size() / 2));
  count += take_own(out.subspan(count));
  if (any_to_wake_) wake_others();
  return count;
}

size_t DpdkQueue::take_own(std::span<RxFrame> out) {
  std::array<rte_mbuf*, BURST> buffers;
  const size_t wanted = std::min({out.size(), size_t{BURST}, free_tokens_.size()});
  if (shared_.tap_poke != nullptr) shared_.tap_poke(0);
  const size_t got = rte_eth_rx_burst(shared_.port, index_, buffers.data(), static_cast<uint16_t>(wanted));
  size_t count = 0;
  for (size_t i = 0; i < got; ++i) {
    rte_mbuf* buffer = buffers[i];
    if (buffer->nb_segs != 1 && rte_pktmbuf_linearize(buffer) != 0) {  // larger than the MTU: not for us
      rte_pktmbuf_free(buffer);
      continue;
    }
    if (!all_.empty() && !is_for_us(buffer)) continue;
    lend(buffer, out[count++]);
  }
  return count;
}

size_t DpdkQueue::take_handed_over(std::span<RxFrame> out) {
  size_t count = 0;
  const auto rings = static_cast<uint16_t>(from_.size());
  for (uint16_t i = 0; i < rings; ++i) {
    rte_ring* ring = from_[(first_ring_ + i) % rings];
    void* buffer = nullptr;
    while (ring != nullptr && count < out.size() && !free_tokens_.empty() && rte_ring_sc_dequeue(ring, &buffer) == 0) {
      auto* frame = static_cast<rte_mbuf*>(buffer);
      lend(frame, out[count]);
      out[count++].overheard = frame->hash.usr == OVERHEARD;
    }
  }
  first_ring_ = static_cast<uint16_t>((first_ring_ + 1) % rings);
  return count;
}

void DpdkQueue::lend(rte_mbuf* frame, RxFrame& out) {
  const uint32_t token = free_tokens_.back();
  free_tokens_.pop_back();
  lent_[token] = frame;
  out = {.data = rte_pktmbuf_mtod(frame, const uint8_t*),
         .size = rte_pktmbuf_data_len(frame),
         .token = token,
         .ip_checksum_good = (frame->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD,
         .tcp_checksum_good = (frame->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD};
}

void DpdkQueue::rx_release(uint32_t token) {
  rte_pktmbuf_free(lent_[token]);
  lent_[token] = nullptr;
  free_tokens_.push_back(token);
}

// Else it was handed over.
bool DpdkQueue::is_for_us(rte_mbuf* frame) {
  using To = FlowSteering::Route::To;
  const FlowSteering::Route route =
      shared_.steering.route({rte_pktmbuf_mtod(frame, const uint8_t*), rte_pktmbuf_data_len(frame)});
  if (route.to == To::ANY || (route.to == To::ONE && route.engine == index_)) return true;
  if (route.to == To::ONE) {
    frame->hash.usr = 0;
    hand_over(frame, route.engine);
    return false;
  }
  for (uint16_t i = 0; i < all_.size(); ++i) {
    if (i == index_) continue;
    rte_mbuf* twin = rte_pktmbuf_copy(frame, shared_.rx_pool, 0, UINT32_MAX);
    if (twin == nullptr) {
      ++counts_.hand_over_drops;
      continue;
    }
    twin->hash.usr = OVERHEARD;
    hand_over(twin, i);
  }
  return true;
}

void DpdkQueue::hand_over(rte_mbuf* frame, uint16_t to) {
  if (rte_ring_sp_enqueue(all_[to]->from_[index_], frame) != 0) {
    ++counts_.hand_over_drops;
    rte_pktmbuf_free(frame);
    return;
  }
  ++counts_.handed_over;
  to_wake_[to] = 1;
  any_to_wake_ = true;
}

void DpdkQueue::wake_others() {
  any_to_wake_ = false;
  std::atomic_thread_fence(std::memory_order_seq_cst);  // what was put in before sleeping_ is read
  for (size_t i = 0; i < all_.size(); ++i) {
    if (to_wake_[i] == 0) continue;
    to_wake_[i] = 0;
    if (!all_[i]->sleeping_.load(std::memory_order_seq_cst)) continue;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t rung = ::write(all_[i]->bell_.get(), &one, sizeof one);
  }
}

// ---- out

// False: some of it still waits.
bool DpdkQueue::push_backlog() {
  const size_t sent = rte_eth_tx_burst(shared_.port, index_, backlog_.data(), static_cast<uint16_t>(backlog_.size()));
  backlog_.erase(backlog_.begin(), backlog_.begin() + static_cast<ptrdiff_t>(sent));
  if (backlog_.empty()) return true;
  const uint64_t now = rte_get_tsc_cycles();
  if (sent != 0) backlog_since_ = now;
  if (now - backlog_since_ < rte_get_tsc_hz() / BACKLOG_PER_SECOND) return false;
  for (rte_mbuf* frame : backlog_) rte_pktmbuf_free(frame);  // lost on the way, as the engine sees it
  backlog_.clear();
  return true;
}

size_t DpdkQueue::tx_burst(std::span<const TxFrame> frames) {
  std::array<rte_mbuf*, BURST> buffers;
  size_t done = 0;
  while (done < frames.size()) {
    const bool ready = tx_ready();
    const size_t room = ready ? BURST : std::min<size_t>(BURST, BACKLOG_MAX - backlog_.size());
    const size_t wanted = std::min(frames.size() - done, room);
    size_t made = 0;
    while (made < wanted && (buffers[made] = make_frame(frames[done + made])) != nullptr) ++made;
    const size_t given = made;
    made = prepare({buffers.data(), made});
    size_t sent = 0;
    for (uint32_t tries = 0; ready && sent < made && tries < TX_TRIES; ++tries) {
      sent += rte_eth_tx_burst(shared_.port, index_, &buffers[sent], static_cast<uint16_t>(made - sent));
    }
    if (ready && sent < made) backlog_since_ = rte_get_tsc_cycles();
    backlog_.insert(backlog_.end(), buffers.begin() + sent, buffers.begin() + made);
    done += given;
    if (given == 0 || given < wanted) break;
  }
  return done;
}

// The engine takes it for refused, and counts its holds itself.
void DpdkQueue::drop(rte_mbuf* frame) {
  for (rte_mbuf* part = frame->next; part != nullptr; part = part->next) {
    if (!RTE_MBUF_HAS_EXTBUF(part)) continue;
    static_cast<PartNote*>(rte_mbuf_to_priv(part))->queue = nullptr;
    --parts_out_;
  }
  rte_pktmbuf_free(frame);
}

// nullptr: no buffer is free.
rte_mbuf* DpdkQueue::make_frame(const TxFrame& frame) {
  rte_mbuf* head = rte_pktmbuf_alloc(shared_.head_pool);
  if (head == nullptr) return nullptr;
  const bool whole_copy = frame.head_bytes > rte_pktmbuf_tailroom(head);  // the answer to a large echo request
  if (whole_copy) {
    rte_pktmbuf_free(head);
    head = rte_pktmbuf_alloc(shared_.rx_pool);
    if (head == nullptr) return nullptr;
  }
  char* room = rte_pktmbuf_append(head, frame.head_bytes);
  if (room == nullptr) {
    rte_pktmbuf_free(head);
    return nullptr;
  }
  std::memcpy(room, frame.head, frame.head_bytes);
  for (size_t i = 0; i < frame.part_count; ++i) {
    if (shared_.features.copies_payload ? copy(head, frame.parts[i]) : attach(head, frame.parts[i])) continue;
    drop(head);
    return nullptr;
  }
  if (frame.fill_ip_checksum || frame.fill_tcp_checksum) ask_offloads(head, frame);
  return head;
}

void DpdkQueue::ask_offloads(rte_mbuf* head, const TxFrame& frame) const {
  const auto ip_bytes = static_cast<uint64_t>(frame.tcp_offset - frame.ip_offset);
  const bool v4 = frame.fill_ip_checksum || ip_bytes == 20;
  head->ol_flags |= v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
  if (frame.fill_ip_checksum) head->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
  if (frame.fill_tcp_checksum) head->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
  uint64_t segment_bytes = frame.segment_bytes;
  if (segment_bytes != 0) {
    head->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    if (shared_.head_in_mtu) segment_bytes = std::min<uint64_t>(segment_bytes, shared_.mtu - frame.head_bytes);
  }
  const auto tcp_bytes = static_cast<uint64_t>(frame.head_bytes - frame.tcp_offset);
  head->tx_offload = rte_mbuf_tx_offload(frame.ip_offset, ip_bytes, tcp_bytes, segment_bytes, 0, 0, 0);
}

// The driver's own wishes for frames with offloads; what it refuses is lost on the way, as the engine sees it. Returns
// how many are left.
size_t DpdkQueue::prepare(std::span<rte_mbuf*> frames) {
  if (!shared_.features.tx_tcp_checksum && shared_.features.tx_large_v4_bytes == 0) return frames.size();
  size_t kept = 0;
  for (size_t i = 0; i < frames.size(); ++i) {
    if (rte_eth_tx_prepare(shared_.port, index_, &frames[i], 1) == 1) {
      frames[kept++] = frames[i];
    } else {
      rte_pktmbuf_free(frames[i]);
    }
  }
  return kept;
}

bool DpdkQueue::attach(rte_mbuf* head, const TxPart& part) {
  rte_mbuf* buffer = rte_pktmbuf_alloc(shared_.part_pool);
  if (buffer == nullptr) return false;
  auto* note = static_cast<PartNote*>(rte_mbuf_to_priv(buffer));
  note->shared.free_cb = &DpdkQueue::part_freed;
  note->shared.fcb_opaque = note;
  rte_mbuf_ext_refcnt_set(&note->shared, 1);
  note->queue = this;
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

// What is more than a buffer takes goes to others behind it.
bool DpdkQueue::copy(rte_mbuf* head, const TxPart& part) {
  for (uint32_t done = 0; done < part.size;) {
    const uint32_t bytes = std::min<uint32_t>(part.size - done, rte_pktmbuf_tailroom(rte_pktmbuf_lastseg(head)));
    if (bytes == 0) {
      rte_mbuf* more = rte_pktmbuf_alloc(shared_.head_pool);
      if (more == nullptr) return false;
      const int chained = rte_pktmbuf_chain(head, more);
      ASSERT(chained == 0);  // far fewer than a chain may have
      continue;
    }
    std::memcpy(rte_pktmbuf_append(head, static_cast<uint16_t>(bytes)), part.data + done, bytes);
    done += bytes;
  }
  return true;
}

void DpdkQueue::part_freed(void*, void* opaque) {
  const auto* note = static_cast<PartNote*>(opaque);
  if (note->queue == nullptr) return;
  --note->queue->parts_out_;
  note->queue->done_.push_back(note->hold);
}

size_t DpdkQueue::tx_done(std::span<uint32_t> holds) {
  // A driver may keep what it has sent until its ring is full; where it cannot be told to give it back, that is when.
  if (done_.empty() && parts_out_ != 0) (void)rte_eth_tx_done_cleanup(shared_.port, index_, 0);
  const size_t count = std::min(done_.size(), holds.size());
  std::copy_n(done_.end() - static_cast<ptrdiff_t>(count), count, holds.begin());
  done_.resize(done_.size() - count);
  return count;
}

// ---- sleeping

int DpdkQueue::begin_wait() {
  if (wait_fd_ < 0) return -1;
  if (all_.empty()) return wait_for_port();
  sleeping_.store(true, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // … before the rings are looked at
  if (anything_handed_over()) return -1;
  return wait_for_port() < 0 ? -1 : waits_.get();
}

bool DpdkQueue::anything_handed_over() const {
  return std::any_of(from_.begin(), from_.end(),
                     [](const rte_ring* ring) { return ring != nullptr && rte_ring_empty(ring) == 0; });
}

int DpdkQueue::wait_for_port() {
  if (shared_.tap_poke != nullptr) return wait_fd_;
  if (rte_eth_dev_rx_intr_enable(shared_.port, index_) != 0) return -1;
  return rte_eth_rx_queue_count(shared_.port, index_) > 0 ? -1 : wait_fd_;  // came before interrupts were on
}

void DpdkQueue::end_wait() {
  if (wait_fd_ < 0) return;
  uint64_t count = 0;
  if (!all_.empty()) {
    sleeping_.store(false, std::memory_order_relaxed);
    [[maybe_unused]] const ssize_t rung = ::read(bell_.get(), &count, sizeof count);
  }
  if (shared_.tap_poke != nullptr) return;
  (void)rte_eth_dev_rx_intr_disable(shared_.port, index_);
  [[maybe_unused]] const ssize_t drained = ::read(wait_fd_, &count, sizeof count);
}

}  // namespace penstock
