#include "src/transport/engine/engine_transport.h"

#include "src/transport/socket_address.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <memory>

// Invariants:
//  - The engine's context of a connection is its Conn, which is given back only when the engine names it no more and no
//    read of a file is under way.
//  - SENDING implies a job, or a send in the engine.
//  - The lists hold handles; a stale one finds no Conn and is skipped.

namespace penstock {

namespace {

constexpr Duration WAKE_LOOK = microseconds(20);  // how late a wake source may be seen while the port is polled
constexpr Duration NAP_MIN = microseconds(50);
constexpr Duration NAP_MAX = milliseconds(1);
constexpr uint32_t ANNOUNCEMENTS = 2;  // RFC 5227 section 2.3: ANNOUNCE_NUM, ANNOUNCE_INTERVAL
constexpr Duration ANNOUNCE_GAP = seconds(2);
constexpr Duration SETTLE_PATIENCE = seconds(3);  // a SYN-ACK or a FIN that was lost is sent again within it
constexpr uint64_t WAKE_DEVICE = UINT64_MAX;
constexpr uint64_t WAKE_FILES = UINT64_MAX - 1;
constexpr uint64_t WAKE_KERNEL = UINT64_MAX - 2;

// Slots of the engine's: half-open ones and those in TIME-WAIT are not the transport's.
NetConfig engine_config(const EngineOptions& options) {
  NetConfig config = options.net;
  const uint32_t open = options.transport.connections_max;
  config.limits.connections_max = open + config.limits.half_open_max + std::max<uint32_t>(open, 4'096);
  return config;
}

PeerAddress to_peer(const IpAddress& ip, uint16_t port) {
  PeerAddress peer{.family = static_cast<uint8_t>(ip.is_v4() ? AF_INET : AF_INET6), .port = port};
  std::copy_n(ip.bytes.begin() + (ip.is_v4() ? 12 : 0), ip.is_v4() ? 4 : 16, peer.ip);
  return peer;
}

}  // namespace

Result<std::unique_ptr<EngineTransport>> EngineTransport::open(PacketDevice& device, EngineOptions options,
                                                               MonoTime now) {
  std::unique_ptr<EngineTransport> transport(new EngineTransport(device, options, now));
  if (Status status = transport->set_up(); !status) return std::unexpected(std::move(status.error()));
  return transport;
}

EngineTransport::EngineTransport(PacketDevice& device, const EngineOptions& options, MonoTime now)
    : device_(device),
      options_(options),
      stack_(engine_config(options), device, now),
      conns_(options.transport.connections_max),
      jobs_(options.transport.connections_max),
      chunks_(options.file_chunks),
      notes_(options.file_chunks),
      device_counts_(device.counts()),
      last_busy_(now),
      announce_at_(options.first ? MonoTime{} : MonoTime::never()) {}

EngineTransport::~EngineTransport() = default;

Status EngineTransport::set_up() {
  stack_.set_succession(true);  // until the first listener is there
  heard_by_two_ = options_.heard_by_two != nullptr && options_.heard_by_two->load(std::memory_order_relaxed);
  follow_handover();
  if (heard_by_two_) announce_at_ = MonoTime::never();  // the other one has answered who asked
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return fail_errno("epoll_create1");
  if (chunks_.wake_fd() >= 0) {
    epoll_event interest{.events = EPOLLIN, .data = {.u64 = WAKE_FILES}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, chunks_.wake_fd(), &interest) != 0)
      return fail_errno("watching the ring for files");
  }
  if (Status watched = watch_kernel(); !watched) return watched;
  finished_.reserve(options_.transport.connections_max);
  waiting_.reserve(options_.transport.connections_max);
  retrying_.reserve(options_.transport.connections_max);
  return {};
}

size_t EngineTransport::poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) {
  now_ = now;
  ++counters_.polls;
  if (!started_) [[unlikely]] {
    started_ = true;
    device_.start();
    chunks_.start();
  }
  if (options_.heard_by_two != nullptr && options_.heard_by_two->load(std::memory_order_relaxed) != heard_by_two_)
      [[unlikely]] {
    heard_by_two_ = !heard_by_two_;
    follow_handover();
  }
  if (now >= announce_at_) [[unlikely]] {
    stack_.announce();
    announce_at_ = ++announced_ < ANNOUNCEMENTS ? now + ANNOUNCE_GAP : MonoTime::never();
  }
  take_reads();
  if (now >= retry_at_ || !waiting_.empty()) retry_waiting();
  if (now - looked_ >= WAKE_LOOK) look_for_wakes(0);
  size_t count = hand_out_wakes(out);
  count += hand_out_finished(out.subspan(count));
  const uint64_t frames = stack_.counters().frames_received;
  count += take_engine_events(out.subspan(count));
  if (kernel_ != nullptr) [[unlikely]]
    turn_kernel();
  if (count != 0 || frames != stack_.counters().frames_received || kernel_sends_) {
    last_busy_ = now;
    nap_ = {};
  } else if (deadline > now) {
    wait(deadline);
    count = hand_out_wakes(out);
  }
  counters_.events += count;
  if (device_counts_ != nullptr) {
    counters_.handed_over = device_counts_->handed_over;
    counters_.hand_over_drops = device_counts_->hand_over_drops;
  }
  counters_.large_segments = stack_.counters().large_segments_sent;
  counters_.bytes_summed = stack_.counters().payload_bytes_summed;
  counters_.receive_starved = stack_.counters().drops[static_cast<size_t>(DropReason::TCP_HOLDS_FULL)];
  return count;
}

// What the engine may say follows from two things: whether another hears the port, and whether we listen.
void EngineTransport::follow_handover() {
  const bool listens = stack_.listener_count() != 0;
  stack_.set_handover(!heard_by_two_ ? PortHandover::NONE : listens ? PortHandover::ANSWERS : PortHandover::SILENT);
}

size_t EngineTransport::take_engine_events(std::span<TransportEvent> out) {
  const uint32_t room = options_.transport.connections_max - conns_.count();
  stack_.set_accept_room(room);
  const size_t got = stack_.poll(now_, std::span(events_).first(std::min(out.size(), events_.size())));
  size_t count = 0;
  for (size_t i = 0; i < got; ++i) count += translate(events_[i], out[count]) ? 1 : 0;
  if (room != 0 && conns_.count() == options_.transport.connections_max) ++counters_.accept_limit_pauses;
  if (got != 0) stack_.submit();  // what file parts have added
  return count;
}

bool EngineTransport::accepted(const NetEvent& event, TransportEvent& out) {
  Conn* conn = conns_.take();
  ASSERT(conn != nullptr);  // set_accept_room()
  conn->engine = event.conn;
  stack_.set_context(event.conn, conn);
  const TcpTuple& tuple = stack_.tuple(event.conn);
  conn->local = to_peer(tuple.local, tuple.local_port);
  ++counters_.accepts;
  out = {.conn = conns_.handle_of(conn),
         .id = event.id,
         .kind = TransportEventKind::ACCEPTED,
         .peer = to_peer(tuple.remote, tuple.remote_port)};
  return true;
}

bool EngineTransport::translate(const NetEvent& event, TransportEvent& out) {
  if (event.kind == NetEventKind::ACCEPTED) return accepted(event, out);
  Conn& conn = *static_cast<Conn*>(event.context);
  std::construct_at(&out);  // where it lies: one made elsewhere by its fields and copied in words costs a stall
  out.conn = conns_.handle_of(&conn);
  out.context = conn.context;
  switch (event.kind) {
    case NetEventKind::RECEIVED:
      ++counters_.receives;
      counters_.bytes_received += event.size;
      out.kind = TransportEventKind::RECEIVED;
      out.data = reinterpret_cast<const char*>(event.data);
      out.size = event.size;
      out.buffer = event.buffer;
      return true;
    case NetEventKind::PEER_CLOSED:
      out.kind = TransportEventKind::PEER_CLOSED;
      return true;
    case NetEventKind::SENT:
      sent(conn, event.token);
      if (!conn.has(SENDING) || conn.job != nullptr || conn.in_engine != 0 || conn.has(FAILED)) return false;
      conn.clear(SENDING);
      out.kind = TransportEventKind::SENT;
      return true;
    case NetEventKind::FAILED:
      ++counters_.failures;
      conn.set(FAILED);
      conn.error = event.error;
      give_chunks(conn);
      drop_job(conn);
      finish(conn);
      return false;
    case NetEventKind::CLOSED:
      conn.clear(BUSY);
      give_chunks(conn);
      finish(conn);
      return false;
    default:
      ASSERT(false);  // CONNECTED: we begin none
      return false;
  }
}

void EngineTransport::finish(Conn& conn) {
  if (conn.has(FINISHED)) return;
  conn.set(FINISHED);
  finished_.push_back(conns_.handle_of(&conn));
}

// Failures and ends, as soon as nothing refers to the connection's memory and files.
size_t EngineTransport::hand_out_finished(std::span<TransportEvent> out) {
  size_t taken = 0;
  size_t count = 0;
  for (; taken < finished_.size() && count < out.size(); ++taken) {
    Conn* conn = conns_.find(finished_[taken]);
    if (conn == nullptr) continue;
    conn->clear(FINISHED);
    if (conn->has(BUSY | READING)) continue;
    TransportEvent& event = out[count];
    event = {.conn = finished_[taken], .context = conn->context};
    if (conn->has(ENDED)) {
      event.kind = TransportEventKind::CLOSED;
      give(*conn);
    } else if (conn->has(FAILED) && !conn->has(TOLD)) {
      conn->set(TOLD);
      conn->clear(SENDING);
      event.kind = TransportEventKind::FAILED;
      event.error = conn->error;
    } else {
      continue;
    }
    ++count;
  }
  finished_.erase(finished_.begin(), finished_.begin() + static_cast<ptrdiff_t>(taken));
  return count;
}

// ---- the kernel, where the port is shared with it

Status EngineTransport::watch_kernel() {
  if (options_.kernel_fd < 0) return {};
  const NetAddresses& addresses = options_.net.addresses;
  kernel_ = std::make_unique<KernelPath>(options_.kernel_fd, device_, addresses.mtu, addresses.vlan_id);
  stack_.share(*kernel_);
  if (!options_.first) return {};
  epoll_event interest{.events = EPOLLIN, .data = {.u64 = WAKE_KERNEL}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, kernel_->fd(), &interest) != 0)
    return fail_errno("watching the kernel's end of the port");
  return {};
}

void EngineTransport::turn_kernel() {
  const uint64_t calls = kernel_->counts().syscalls;
  kernel_->to_kernel();
  if (kernel_sends_) {
    const KernelPath::Left left = kernel_->from_kernel();
    kernel_sends_ = left == KernelPath::Left::MORE;
    if (left == KernelPath::Left::LOST) (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, kernel_->fd(), nullptr);
    last_busy_ = now_;
  }
  const KernelPath::Counts& counts = kernel_->counts();
  counters_.syscalls += counts.syscalls - calls;
  counters_.exception_in = counts.to_kernel;
  counters_.exception_out = counts.from_kernel;
  counters_.exception_drops = counts.drops;
}

// ---- waiting

size_t EngineTransport::hand_out_wakes(std::span<TransportEvent> out) {
  size_t count = 0;
  while (!woken_.empty() && count < out.size()) {
    out[count++] = {.id = woken_.back(), .kind = TransportEventKind::WOKEN};
    woken_.pop_back();
  }
  return count;
}

void EngineTransport::wait(MonoTime deadline) {
  if (!finished_.empty() || !woken_.empty() || (kernel_ != nullptr && kernel_->waits())) return;
  const MonoTime settled = has_unsettled() ? patience_until_ : MonoTime::never();
  const MonoTime until = std::min({deadline, stack_.next_deadline(), retry_at_, announce_at_, settled});
  if (until <= now_ || now_ - last_busy_ < options_.spin) return;
  doze(until);
}

void EngineTransport::doze(MonoTime until) {
  const int fd = device_.begin_wait();
  if (fd != device_fd_) {
    if (device_fd_ >= 0) (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, device_fd_, nullptr);
    epoll_event interest{.events = EPOLLIN, .data = {.u64 = WAKE_DEVICE}};
    device_fd_ = fd >= 0 && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &interest) == 0 ? fd : -1;
  }
  Duration timeout = until == MonoTime::never() ? seconds(1'000) : until - now_;
  if (device_fd_ < 0) {
    nap_ = std::clamp(nap_ * 2, NAP_MIN, NAP_MAX);
    timeout = std::min(timeout, nap_);
  }
  ++counters_.waits;
  look_for_wakes(std::min<int64_t>(timeout.us() + 1, 1'000'000'000));
  device_.end_wait();
}

void EngineTransport::look_for_wakes(int64_t timeout_us) {
  looked_ = now_;
  ++counters_.syscalls;
  std::array<epoll_event, 16> ready;
  const timespec timeout{.tv_sec = timeout_us / 1'000'000, .tv_nsec = timeout_us % 1'000'000 * 1'000};
  const int count = ::epoll_pwait2(epoll_.get(), ready.data(), static_cast<int>(ready.size()), &timeout, nullptr);
  ASSERT(count >= 0 || errno == EINTR);
  if (timeout_us != 0 && count <= 0) ++counters_.idle_wakes;
  for (int i = 0; i < count; ++i) {
    const uint64_t what = ready[static_cast<size_t>(i)].data.u64;
    if (what == WAKE_KERNEL) kernel_sends_ = true;
    if (what < wake_ids_.size()) woken_.push_back(wake_ids_[what]);
  }
}

Status EngineTransport::add_wake_source(int fd, uint32_t id) {
  epoll_event interest{.events = EPOLLIN | EPOLLET, .data = {.u64 = wake_ids_.size()}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &interest) != 0) return fail_errno("watching a wake source");
  wake_ids_.push_back(id);
  woken_.reserve(wake_ids_.size() * 2);
  return {};
}

// ---- listening, and the owner's calls

Status EngineTransport::add_listener(int fd, uint32_t id) {
  const PeerAddress bound = own_address(fd);
  if (bound.family != AF_INET && bound.family != AF_INET6)
    return fail(std::string(name()) + " serves TCP alone: no unix socket");
  const bool v4 = bound.family == AF_INET;
  const bool wildcard = std::all_of(std::begin(bound.ip), std::end(bound.ip), [](uint8_t byte) { return byte == 0; });
  const IpAddress& ours = v4 ? options_.net.addresses.v4 : options_.net.addresses.v6;
  if (!wildcard && to_peer(ours, bound.port) != bound)
    return fail(std::string(name()) + " serves its own addresses alone, and the wildcards");
  // An engine without that version listens to nobody there.
  if (!stack_.listen(bound.port, id, v4 ? NetStack::ListenOn::V4 : NetStack::ListenOn::V6))
    return fail("port " + std::to_string(bound.port) + " has a listener already, or there are too many");
  stack_.set_succession(false);
  follow_handover();
  return {};
}

void EngineTransport::remove_listener(uint32_t id) {
  stack_.stop_listening(id);
  if (stack_.listener_count() != 0) return;
  stack_.set_succession(true);
  if (!heard_by_two_) return;
  patience_until_ = now_ + SETTLE_PATIENCE;
  announce_at_ = MonoTime::never();
  follow_handover();
}

bool EngineTransport::is_open(Handle handle) const {
  const Conn* conn = conns_.find(handle);
  return conn != nullptr && !conn->has(ENDED);
}

uint64_t EngineTransport::bytes_sent(Handle handle) const {
  const Conn& conn = live(handle);
  return conn.has(ENGINE) && !conn.has(FAILED) ? conn.queued - stack_.unacknowledged_bytes(conn.engine) : conn.queued;
}

void EngineTransport::set_receiving(Handle handle, bool on) {
  const Conn& conn = live(handle);
  if (conn.has(ENGINE) && !conn.has(FAILED)) stack_.set_receiving(conn.engine, on);
}

void EngineTransport::shutdown_send(Handle handle) {
  const Conn& conn = live(handle);
  ASSERT(!conn.has(SENDING));
  if (conn.has(ENGINE) && !conn.has(FAILED)) stack_.shutdown_send(conn.engine);
}

bool EngineTransport::close(Handle handle) {
  ++counters_.closes;
  return end(handle, false);
}

bool EngineTransport::reset(Handle handle) {
  ++counters_.resets;
  return end(handle, true);
}

bool EngineTransport::end(Handle handle, bool with_reset) {
  Conn& conn = live(handle);
  conn.set(ENDED);
  if (conn.has(ENGINE)) {
    conn.clear(ENGINE);
    if (with_reset ? stack_.reset(conn.engine) : stack_.close(conn.engine)) conn.set(BUSY);
  }
  drop_job(conn);
  if (!conn.has(BUSY)) give_chunks(conn);
  if (conn.has(BUSY | READING)) return true;
  give(conn);
  return false;
}

void EngineTransport::give(Conn& conn) {
  ASSERT(conn.job == nullptr && conn.chunk_count == 0);
  conns_.give(&conn);
}

PeerAddress EngineTransport::local_address(Handle handle) const { return live(handle).local; }

}  // namespace penstock
