#include "src/transport/epoll/epoll_transport.h"

#include "src/transport/socket_address.h"

#include <algorithm>
#include <sys/mman.h>
#include <sys/socket.h>

// Invariants:
//  - A socket is watched edge-triggered for its whole life. READABLE is set by every edge and cleared only
//    when a receive showed that nothing is left, so no edge is ever lost.
//  - READABLE, RECEIVING and not ended implies QUEUED (in readable_), unless no buffer was free: then too.
//  - The lists hold handles; a stale one finds no Conn and is skipped.

namespace penstock {

namespace {

constexpr size_t READY_MAX = 512;
constexpr uint32_t ACCEPTS_A_TURN = 64;
constexpr uint32_t INDEX_MAX = (1U << 24) - 1;

constexpr Handle handle_of(uint64_t data) {
  return {static_cast<uint32_t>(data >> 32) & INDEX_MAX, static_cast<uint32_t>(data)};
}

}  // namespace

Result<std::unique_ptr<Transport>> EpollTransport::open(const TransportOptions& options) {
  ignore_broken_pipe_signal();
  std::unique_ptr<EpollTransport> transport(new EpollTransport(options));
  if (Status status = transport->set_up(); !status) return std::unexpected(std::move(status.error()));
  return transport;
}

EpollTransport::EpollTransport(const TransportOptions& options)
    : conns_(options.connections_max), jobs_(options.connections_max), options_(options) {
  ASSERT(options.connections_max < INDEX_MAX);
  ready_.resize(READY_MAX);
}

Status EpollTransport::set_up() {
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return fail_errno("epoll_create1");
  buffer_memory_bytes_ = static_cast<size_t>(options_.receive_buffers) * options_.receive_buffer_bytes;
  void* memory = ::mmap(nullptr, buffer_memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail_errno("mapping receive buffers");
  buffer_memory_ = static_cast<char*>(memory);
  for (uint32_t i = options_.receive_buffers; i > 0; --i) free_buffers_.push_back(i - 1);
  lent_.resize(options_.receive_buffers);
  return {};
}

EpollTransport::~EpollTransport() {
  conns_.for_each([this](Conn& conn) {
    ::close(conn.fd);
    drop_job(conn);
  });
  if (buffer_memory_ != nullptr) ::munmap(buffer_memory_, buffer_memory_bytes_);
}

size_t EpollTransport::poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) {
  now_ = now;
  ++counters_.polls;
  if (now >= accept_retry_at_) [[unlikely]] {
    accept_retry_at_ = MonoTime::never();
    update_accepting();
  }
  if (now >= cold_retry_at_) retry_cold();
  if (!continue_.empty()) continue_files();
  wait(deadline);
  size_t count = hand_out_wakes(out);
  count += hand_out_deferred(out.subspan(count));
  count += receive_all(out.subspan(count));
  count += accept_all(out.subspan(count));  // last: ACCEPTED is alone in its batch
  counters_.events += count;
  return count;
}

// Events are left over, or can be had without waiting.
bool EpollTransport::has_work() const {
  const bool can_receive = !readable_.empty() && !free_buffers_.empty();
  const bool can_accept = std::ranges::any_of(listeners_, [](const Listener& l) { return l.ready && l.watched; });
  return can_receive || can_accept || !deferred_.empty() || !woken_.empty() || !continue_.empty();
}

void EpollTransport::wait(MonoTime deadline) {
  const MonoTime until = std::min({deadline, accept_retry_at_, cold_retry_at_});
  const bool may_wait = until > now_ && !has_work();
  int timeout_ms = 0;
  if (may_wait) {
    constexpr int64_t LONGEST_MS = 1'000'000;
    timeout_ms = until == MonoTime::never()
                     ? -1
                     : static_cast<int>(std::min((until - now_ + microseconds(999)).ms(), LONGEST_MS));
    ++counters_.waits;
  }
  ++counters_.syscalls;
  const int count = ::epoll_wait(epoll_.get(), ready_.data(), static_cast<int>(ready_.size()), timeout_ms);
  ASSERT(count >= 0 || errno == EINTR);
  if (may_wait && count <= 0) ++counters_.idle_wakes;
  for (int i = 0; i < count; ++i) on_ready(ready_[static_cast<size_t>(i)]);
}

void EpollTransport::on_ready(const epoll_event& ready) {
  const Handle handle = handle_of(ready.data.u64);
  switch (static_cast<Kind>(ready.data.u64 >> 56)) {
    case Kind::WAKE:
      woken_.push_back(wake_ids_[handle.index]);
      return;
    case Kind::LISTENER:
      listeners_[handle.index].ready = true;
      return;
    case Kind::CONNECTION:
      break;
  }
  Conn* conn = conns_.find(handle);
  if (conn == nullptr) return;  // closed since the kernel filed the event
  if ((ready.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    conn->set(READABLE);
    if ((ready.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) conn->set(HANG_UP);
    queue_readable(*conn, handle);
  }
  if ((ready.events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0 && conn->has(BLOCKED)) {
    conn->clear(BLOCKED);
    push(*conn, handle);
  }
}

size_t EpollTransport::hand_out_wakes(std::span<TransportEvent> out) {
  size_t count = 0;
  while (!woken_.empty() && count < out.size()) {
    out[count] = {.id = woken_.back(), .kind = TransportEventKind::WOKEN};
    woken_.pop_back();
    ++count;
  }
  return count;
}

size_t EpollTransport::hand_out_deferred(std::span<TransportEvent> out) {
  size_t count = 0;
  size_t taken = 0;
  for (; taken < deferred_.size() && count < out.size(); ++taken) {
    Conn* conn = conns_.find(deferred_[taken]);
    if (conn == nullptr || conn->has(FAIL_TOLD)) continue;
    TransportEvent& event = out[count];
    event = {.conn = deferred_[taken], .context = conn->context, .kind = TransportEventKind::SENT};
    if (conn->has(FAILED)) {
      conn->set(FAIL_TOLD);
      event.kind = TransportEventKind::FAILED;
      event.error = conn->error;
    } else if (!conn->has(SENDING)) {
      continue;
    }
    conn->clear(SENDING | SEND_MORE);
    drop_job(*conn);
    ++count;
  }
  deferred_.erase(deferred_.begin(), deferred_.begin() + static_cast<ptrdiff_t>(taken));
  return count;
}

// ---- accepting

Status EpollTransport::add_listener(int fd, uint32_t id) {
  Result<PeerAddress> bound = prepare_listener(fd);
  if (!bound) return std::unexpected(std::move(bound.error()));
  update_accepting(listeners_.emplace_back(Listener{.fd = fd, .id = id, .bound = *bound}));
  return {};
}

void EpollTransport::remove_listener(uint32_t id) {
  for (Listener& listener : listeners_) {
    if (listener.removed || listener.id != id) continue;
    listener.removed = true;
    update_accepting(listener);
  }
}

void EpollTransport::pause_accept(bool paused) {
  if (accept_paused_ == paused) return;
  accept_paused_ = paused;
  update_accepting();
}

void EpollTransport::update_accepting() {
  for (Listener& listener : listeners_) update_accepting(listener);
}

void EpollTransport::update_accepting(Listener& listener) {
  const bool wanted = !listener.removed && !accept_paused_ && !at_limit_ && now_ >= listener.retry_at;
  if (wanted == listener.watched) return;
  // Level-triggered, so that nothing is forgotten over a pause; exclusive, so that of several reactors
  // on one listener one wakes.
  epoll_event interest{.events = EPOLLIN | EPOLLEXCLUSIVE, .data = {}};
  interest.data.u64 = tag(Kind::LISTENER, {static_cast<uint32_t>(&listener - listeners_.data()), 0});
  const int result = ::epoll_ctl(epoll_.get(), wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener.fd, &interest);
  ++counters_.syscalls;
  listener.watched = wanted && result == 0;
  listener.ready = false;
  if (wanted && result != 0) accept_failed(listener, errno);
}

size_t EpollTransport::accept_all(std::span<TransportEvent> out) {
  size_t count = 0;
  for (Listener& listener : listeners_) {
    for (uint32_t i = 0; i < ACCEPTS_A_TURN && listener.ready && count < out.size(); ++i) {
      count += accept_one(listener, out[count]) ? 1 : 0;
    }
  }
  return count;
}

bool EpollTransport::accept_one(Listener& listener, TransportEvent& event) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  const int fd = ::accept4(listener.fd, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  ++counters_.syscalls;
  if (fd < 0) {
    listener.ready = false;
    accept_failed(listener, errno);
    return false;
  }
  Conn* conn = conns_.take();
  ASSERT(conn != nullptr);  // at_limit_ stops accepting before
  const Handle handle = conns_.handle_of(conn);
  conn->fd = fd;
  conn->listener = static_cast<uint32_t>(&listener - listeners_.data());
  epoll_event interest{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {}};
  interest.data.u64 = tag(Kind::CONNECTION, handle);
  ++counters_.syscalls;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &interest) != 0) {
    ++counters_.accept_errors;
    ::close(fd);
    conns_.give(conn);
    return false;
  }
  ++counters_.accepts;
  // Under load the request is there already: trying to read now saves the wait for the first edge.
  conn->set(READABLE);
  queue_readable(*conn, handle);
  event = {
      .conn = handle, .id = listener.id, .kind = TransportEventKind::ACCEPTED, .peer = from_socket_address(address)};
  if (conns_.count() >= options_.connections_max) {
    at_limit_ = true;
    ++counters_.accept_limit_pauses;
    update_accepting();
  }
  return true;
}

void EpollTransport::accept_failed(Listener& listener, int error) {
  switch (error) {
    case EAGAIN:
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
      return;
    default:
      ++counters_.accept_errors;
      listener.retry_at = now_ + ACCEPT_RETRY;
      accept_retry_at_ = std::min(accept_retry_at_, listener.retry_at);
      if (listener.watched) update_accepting(listener);
  }
}

// ---- receiving

void EpollTransport::queue_readable(Conn& conn, Handle handle) {
  if (!conn.has(READABLE) || !conn.has(RECEIVING) || conn.has(QUEUED | PEER_EOF | FAILED)) return;
  conn.set(QUEUED);
  readable_.push_back(handle);
}

// One receive a connection, so that a fast peer gets no more turns than a slow one.
size_t EpollTransport::receive_all(std::span<TransportEvent> out) {
  const size_t waiting = readable_.size();
  size_t taken = 0;
  size_t count = 0;
  for (; taken < waiting && count < out.size(); ++taken) {
    const Handle handle = readable_[taken];
    Conn* conn = conns_.find(handle);
    if (conn == nullptr) continue;
    if (free_buffers_.empty()) {
      ++counters_.receive_starved;
      break;
    }
    conn->clear(QUEUED);
    if (!conn->has(RECEIVING) || conn->has(FAILED)) continue;
    count += receive(*conn, handle, out[count]) ? 1 : 0;
    queue_readable(*conn, handle);
  }
  readable_.erase(readable_.begin(), readable_.begin() + static_cast<ptrdiff_t>(taken));
  return count;
}

bool EpollTransport::receive(Conn& conn, Handle handle, TransportEvent& event) {
  const uint32_t buffer = free_buffers_.back();
  char* data = buffer_memory_ + static_cast<size_t>(buffer) * options_.receive_buffer_bytes;
  const ssize_t result = ::recv(conn.fd, data, options_.receive_buffer_bytes, 0);
  ++counters_.syscalls;
  if (result <= 0) return on_receive_end(conn, handle, result, event);
  // A short read has emptied the socket: what comes later is a new edge. But a FIN that came with the
  // bytes gave its edge already.
  if (static_cast<size_t>(result) < options_.receive_buffer_bytes && !conn.has(HANG_UP)) conn.clear(READABLE);
  free_buffers_.pop_back();
  lent_[buffer] = true;
  ++counters_.receives;
  counters_.bytes_received += static_cast<uint64_t>(result);
  event = {.conn = handle,
           .context = conn.context,
           .data = data,
           .size = static_cast<uint32_t>(result),
           .buffer = buffer,
           .kind = TransportEventKind::RECEIVED};
  return true;
}

bool EpollTransport::on_receive_end(Conn& conn, Handle handle, ssize_t result, TransportEvent& event) {
  if (result == 0) {
    conn.set(PEER_EOF);
    event = {.conn = handle, .context = conn.context, .kind = TransportEventKind::PEER_CLOSED};
    return true;
  }
  if (errno == EINTR) return false;
  conn.clear(READABLE);
  if (errno == EAGAIN) return false;
  ++counters_.failures;
  conn.set(FAILED | FAIL_TOLD);
  conn.clear(SENDING | SEND_MORE | BLOCKED);
  event = {.conn = handle, .context = conn.context, .error = errno, .kind = TransportEventKind::FAILED};
  drop_job(conn);
  return true;
}

void EpollTransport::release(uint32_t buffer) {
  ASSERT(buffer < lent_.size() && lent_[buffer]);
  lent_[buffer] = false;
  free_buffers_.push_back(buffer);
}

void EpollTransport::set_receiving(Handle handle, bool on) {
  Conn& conn = live(handle);
  on ? conn.set(RECEIVING) : conn.clear(RECEIVING);
  queue_readable(conn, handle);
}

// ---- ending

void EpollTransport::shutdown_send(Handle handle) {
  Conn& conn = live(handle);
  ASSERT(!conn.has(SENDING));
  conn.set(SHUT);
  ++counters_.syscalls;
  (void)::shutdown(conn.fd, SHUT_WR);  // fails only where the connection is gone, which a receive tells
}

bool EpollTransport::close(Handle handle) {
  ++counters_.closes;
  return end(handle);
}

bool EpollTransport::reset(Handle handle) {
  static constexpr linger ABORT{.l_onoff = 1, .l_linger = 0};
  ++counters_.resets;
  ++counters_.syscalls;
  (void)::setsockopt(live(handle).fd, SOL_SOCKET, SO_LINGER, &ABORT, sizeof ABORT);
  return end(handle);
}

// The kernel holds nothing of ours between calls: the parts of a send are free here and now.
bool EpollTransport::end(Handle handle) {
  Conn& conn = live(handle);
  ++counters_.syscalls;
  ::close(conn.fd);  // takes it out of the epoll set as well: there is no second reference
  drop_job(conn);
  conns_.give(&conn);
  if (at_limit_) {
    at_limit_ = false;
    update_accepting();
  }
  return false;
}

Status EpollTransport::add_wake_source(int fd, uint32_t id) {
  epoll_event interest{.events = EPOLLIN | EPOLLET, .data = {}};
  interest.data.u64 = tag(Kind::WAKE, {static_cast<uint32_t>(wake_ids_.size()), 0});
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &interest) != 0) return fail_errno("watching a wake source");
  wake_ids_.push_back(id);
  return {};
}

uint64_t EpollTransport::bytes_held(Handle handle) {
  ++counters_.syscalls;
  return unsent_bytes(live(handle).fd);
}

PeerAddress EpollTransport::local_address(Handle handle) const {
  const Conn& conn = live(handle);
  const PeerAddress& bound = listeners_[conn.listener].bound;
  return exact_local_ && is_wildcard(bound) ? own_address(conn.fd) : bound;
}

}  // namespace penstock
