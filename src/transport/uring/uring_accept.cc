// Accepting: one multishot accept a listener, its limit, its back-off, and the peer's address.
//
// A multishot accept takes all that is in the backlog before we hear of the first, so it could run over the
// limit on connections. When the free slots become scarce it gives way to single accepts, no more than there
// are free slots; then what we have no room for stays in the backlog.
#include "src/transport/kernel_key.h"
#include "src/transport/socket_address.h"
#include "src/transport/uring/uring_transport.h"

#include <algorithm>
#include <netinet/tcp.h>

namespace penstock {

namespace {

// Fewer free slots than this are scarce: the backlog that one listener usually may have (net.core.somaxconn).
constexpr uint32_t SCARCE_SLOTS = 4'096;
constexpr uint32_t SINGLE_ACCEPTS_MAX = 32;

}  // namespace

Status UringTransport::add_listener(int fd, uint32_t id) {
  Result<PeerAddress> bound = prepare_listener(fd);
  if (!bound) return std::unexpected(std::move(bound.error()));
  // A removed listener keeps its place: connections on the way to being announced name it.
  update_accepting(listeners_.emplace_back(Listener{.fd = fd, .id = id, .bound = *bound}));
  return {};
}

void UringTransport::remove_listener(uint32_t id) {
  for (Listener& listener : listeners_) {
    if (listener.removed || listener.id != id) continue;
    listener.removed = true;
    update_accepting(listener);
  }
}

void UringTransport::pause_accept(bool paused) {
  if (accept_paused_ == paused) return;
  accept_paused_ = paused;
  update_accepting();
}

void UringTransport::update_accepting() {
  for (Listener& listener : listeners_) update_accepting(listener);
}

uint32_t UringTransport::free_slots() const {
  return conns_.count() < options_.connections_max ? options_.connections_max - conns_.count() : 0;
}

void UringTransport::note_slots() {
  const uint32_t free = free_slots();
  if (free == 0 && !at_limit_) ++counters_.accept_limit_pauses;
  at_limit_ = free == 0;
  const bool was_scarce = scarce_;
  scarce_ = free < SCARCE_SLOTS + (was_scarce ? SCARCE_SLOTS / 8 : 0);
  if (scarce_ || was_scarce) update_accepting();
}

void UringTransport::update_accepting(Listener& listener) {
  const uint32_t free = free_slots();
  const bool wanted = !listener.removed && !accept_paused_ && free > 0 && now_ >= listener.retry_at;
  if (!wanted || (listener.multishot && scarce_)) {
    const bool armed = listener.multishot || listener.singles > 0;
    if (armed && !listener.cancelled) {
      cancel(accept_tag(listener), IORING_ASYNC_CANCEL_ALL);
      listener.cancelled = true;
    }
    return;
  }
  if (listener.multishot || listener.cancelled) return;  // the end of what is cancelled brings us here again
  if (scarce_) {
    while (listener.singles < std::min(free, SINGLE_ACCEPTS_MAX)) arm_accept(listener, false);
  } else if (listener.singles == 0) {
    arm_accept(listener, true);
  }
}

void UringTransport::arm_accept(Listener& listener, bool multishot) {
  io_uring_sqe* sqe = ring_->sqe();
  sqe->opcode = IORING_OP_ACCEPT;
  sqe->fd = listener.fd;
  sqe->ioprio = multishot ? uint16_t{IORING_ACCEPT_MULTISHOT} : uint16_t{0};
  sqe->user_data = accept_tag(listener);
  // sendfile(2) asks the socket, not the call, whether it may wait.
  sqe->accept_flags = SOCK_NONBLOCK;
  if (direct_) {
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
  } else {
    sqe->accept_flags |= SOCK_CLOEXEC;
  }
  multishot ? void(listener.multishot = true) : void(++listener.singles);
}

bool UringTransport::on_accept(Listener& listener, const Completion& completion, TransportEvent& event) {
  if ((completion.flags & IORING_CQE_F_MORE) == 0) {
    listener.multishot ? void(listener.multishot = false) : void(--listener.singles);
    if (!listener.multishot && listener.singles == 0) listener.cancelled = false;
  }
  if (completion.res < 0) accept_failed(listener, -completion.res);
  Conn* conn = completion.res >= 0 ? conns_.take() : nullptr;
  if (completion.res >= 0 && conn == nullptr) {
    ++counters_.accept_errors;
    close_file(completion.res);
  }
  note_slots();
  if (!listener.multishot && !scarce_) update_accepting(listener);
  if (conn == nullptr) return false;

  ++counters_.accepts;
  const Handle handle = conns_.handle_of(conn);
  conn->file = completion.res;
  conn->listener = static_cast<uint32_t>(&listener - listeners_.data());
  const bool unix_socket = listener.bound.family == AF_UNIX;
  if (direct_ && !unix_socket) {
    if (exact_local_ && is_wildcard(listener.bound)) {
      // Nothing that a ring can ask tells it: an ordinary descriptor is needed for as long as the question takes.
      (void)conn_sqe(*conn, URING_OP_FIXED_FD_INSTALL, tag(Op::OWN_NAME, handle));
    }
    // A multishot accept brings no address. SO_PEERNAME is the option that answers it at the level
    // which the ring's socket command can ask. The receive goes in behind it, in the same submission.
    const uint32_t size = listener.bound.family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    io_uring_sqe* sqe = socket_option_sqe(*conn, URING_SOCKET_GETSOCKOPT, {SOL_SOCKET, SO_PEERNAME, &conn->peer, size});
    sqe->user_data = tag(Op::PEER_NAME, handle);
    ++sure_;
    arm_receive(*conn, handle);
    return false;
  }
  if (!direct_) conn->fd = completion.res;
  PeerAddress peer{.family = AF_UNIX};
  if (!unix_socket) {
    ++counters_.syscalls;
    peer = peer_address(completion.res);
  }
  announce(*conn, handle, peer, event);
  arm_receive(*conn, handle);
  return true;
}

// Entered in front of the question for the peer's name, it is done before that: neither has to wait for anything.
void UringTransport::on_own_name(Handle handle, int descriptor) {
  if (descriptor < 0) return;
  counters_.syscalls += 2;
  if (Conn* conn = conns_.find(handle); conn != nullptr) {
    if (own_.size() <= handle.index) own_.resize(std::max<size_t>(handle.index + 1, conns_.count() * 2));
    own_[handle.index] = own_address(descriptor);
    conn->set(OWN_KNOWN);
  }
  ::close(descriptor);
}

void UringTransport::set_exact_local(bool exact) { exact_local_ = exact; }

bool UringTransport::on_peer_name(Conn& conn, Handle handle, int result, TransportEvent& event) {
  // A connection whose address the kernel has forgotten (reset meanwhile) is announced all the same:
  // its receive will tell.
  announce(conn, handle, result > 0 ? to_peer_address(conn.peer) : PeerAddress{}, event);
  return true;
}

void UringTransport::announce(Conn& conn, Handle handle, const PeerAddress& peer, TransportEvent& event) {
  conn.set(ANNOUNCED);
  conn.announced_turn = static_cast<uint16_t>(counters_.polls);
  conn.send = Conn().send;
  event.kind = TransportEventKind::ACCEPTED;
  event.conn = handle;
  event.peer = peer;
  event.id = listeners_[conn.listener].id;
}

bool UringTransport::early_is_due() const {
  return !early_.empty() && conns_.find(handle_of(early_.front().user_data))->has(ANNOUNCED);
}

// Receives that came with, or before, the announcement of their connection.
size_t UringTransport::hand_out_early(std::span<TransportEvent> out) {
  size_t count = 0;
  size_t kept = 0;
  size_t i = 0;
  for (; i < early_.size() && count < out.size(); ++i) {
    const Completion completion = early_[i];
    Conn* conn = conns_.find(handle_of(completion.user_data));
    ASSERT(conn != nullptr);
    if (!conn->has(ANNOUNCED)) {
      early_[kept++] = completion;
      continue;
    }
    count += on_completion(completion, out[count]) ? 1 : 0;
  }
  early_.erase(early_.begin() + static_cast<ptrdiff_t>(kept), early_.begin() + static_cast<ptrdiff_t>(i));
  return count;
}

void UringTransport::accept_failed(Listener& listener, int error) {
  switch (error) {
    case ECANCELED:  // by us
    case ECONNABORTED:
    case EINTR:
    case EAGAIN:
    case EPROTO:
      return;
    default:
      ++counters_.accept_errors;
      listener.retry_at = now_ + ACCEPT_RETRY;
      accept_retry_at_ = std::min(accept_retry_at_, listener.retry_at);
  }
}

PeerAddress UringTransport::local_address(Handle handle) const {
  const Conn& conn = live(handle);
  if (conn.has(OWN_KNOWN)) return own_[handle.index];
  const PeerAddress& bound = listeners_[conn.listener].bound;
  return exact_local_ && conn.fd >= 0 && is_wildcard(bound) ? own_address(conn.fd) : bound;
}

}  // namespace penstock
