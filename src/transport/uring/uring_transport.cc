#include "src/transport/uring/uring_transport.h"

#include "src/transport/kernel_key.h"

#include <algorithm>
#include <sys/resource.h>
#include <utility>

// Invariants:
//  - A Conn is freed only when ENDED is set, its end was told, and no operation that would complete
//    with its handle is in the kernel; so a completion's handle always finds its Conn.
//  - conn.send.armed names the one operation of the send side that is in the kernel.
//  - While !ANNOUNCED the union holds the peer's address and nothing is sent.
//  - An operation's entry never points at memory that may go before its completion: the parts are the
//    caller's until SENT/FAILED/CLOSED, jobs and Conns live until then too.
//  - Where send.closes is set the close has gone in with the send, and nothing else may name conn.file: when the send
//    is out, that is another connection's.
//  - Cancels and closes carry IOSQE_CQE_SKIP_SUCCESS and Op::IGNORED: nothing waits for them.

namespace penstock {

namespace {

// Connections that are gone for the reactor may still wait for the kernel; and several listeners together may
// bring a few more than there are free slots.
constexpr uint32_t SLOT_MARGIN = 1'024;
constexpr uint16_t RECEIVE_GROUP = 0;
constexpr size_t LISTED_BEFOREHAND =
    4096;  // a turn that lists more connections than any before it allocates beyond that

// How long a new connection that says nothing may wait, where nothing else happens, for being announced, and the end of
// a send for which nobody waits for being told. Longer than the kernel's tick, so that no timer has to be set for it.
constexpr Duration SILENCE_MAX = milliseconds(10);

}  // namespace

Result<std::unique_ptr<Transport>> UringTransport::open(const TransportOptions& options, const UringOptions& uring) {
  ignore_broken_pipe_signal();
  std::unique_ptr<UringTransport> transport(new UringTransport(options));
  if (Status status = transport->set_up(uring); !status) return std::unexpected(std::move(status.error()));
  return transport;
}

UringTransport::UringTransport(const TransportOptions& options)
    : conns_(options.connections_max + SLOT_MARGIN), jobs_(options.connections_max + SLOT_MARGIN), options_(options) {
  ASSERT(options.connections_max + SLOT_MARGIN < INDEX_MAX);
  const size_t of_a_turn = std::min<size_t>(options.connections_max, LISTED_BEFOREHAND);
  for (std::vector<Handle>* list : {&starved_, &later_, &continue_, &deferred_}) list->reserve(of_a_turn);
  early_.reserve(of_a_turn);
}

Status UringTransport::set_up(const UringOptions& uring) {
  Result<std::unique_ptr<Ring>> ring = Ring::open(uring.ring);
  if (!ring) return std::unexpected(std::move(ring.error()));
  ring_ = std::move(*ring);
  // SEND_ZC is of 6.0, as are multishot receive and what else cannot be probed.
  for (const uint8_t opcode : {IORING_OP_ACCEPT, IORING_OP_SEND, IORING_OP_SEND_ZC, IORING_OP_SPLICE}) {
    if (!ring_->supports(opcode))
      return penstock::fail("io_uring of this kernel is too old: 6.0 is the oldest that will do");
  }
  direct_ = uring.direct_descriptors && ring_->supports(URING_OP_FIXED_FD_INSTALL);
  if (direct_) {
    // The kernel holds the table to the limit on descriptors.
    rlimit descriptors{};
    if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return fail_errno("getrlimit");
    const uint64_t slots = std::min<uint64_t>(options_.connections_max + SLOT_MARGIN, descriptors.rlim_cur);
    options_.connections_max = std::min(options_.connections_max, static_cast<uint32_t>(slots - slots / 16));
    if (Status status = ring_->register_sparse_files(static_cast<uint32_t>(slots)); !status) {
      return std::unexpected(std::move(status.error()));
    }
    file_flag_ = IOSQE_FIXED_FILE;
  }
  Result<std::unique_ptr<BufferRing>> buffers =
      BufferRing::open(*ring_, RECEIVE_GROUP, options_.receive_buffers, options_.receive_buffer_bytes);
  if (!buffers) return std::unexpected(std::move(buffers.error()));
  buffers_ = std::move(*buffers);
  note_slots();
  return restrict_ring();
}

Status UringTransport::restrict_ring() {
  static constexpr uint8_t OPCODES[] = {
      IORING_OP_ACCEPT,     IORING_OP_RECV,         IORING_OP_SEND,           IORING_OP_SENDMSG,  IORING_OP_SEND_ZC,
      IORING_OP_SENDMSG_ZC, IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE,          IORING_OP_SHUTDOWN, IORING_OP_POLL_ADD,
      IORING_OP_SPLICE,     IORING_OP_URING_CMD,    URING_OP_FIXED_FD_INSTALL};
  std::vector<uint8_t> known;
  for (const uint8_t opcode : OPCODES) {
    if (ring_->supports(opcode)) known.push_back(opcode);
  }
  return ring_->restrict_to(known, IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_LINK);
}

UringTransport::~UringTransport() {
  // Direct descriptors go with the ring.
  conns_.for_each([this](Conn& conn) {
    if (conn.fd >= 0) ::close(conn.fd);
    if (conn.has(ANNOUNCED) && conn.send.job != nullptr) jobs_.give(conn.send.job);
  });
  ring_.reset();
}

void UringTransport::start() {
  // The only ways to fail are a ring that is enabled already and a thread out of kernel memory.
  const Status status = ring_->start();
  ASSERT(status.has_value());
  started_ = true;
}

size_t UringTransport::poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) {
  if (!started_) [[unlikely]]
    start();
  now_ = now;
  ++counters_.polls;
  before_wait(now);
  const bool has_news = ring_->ready() > 0 || early_is_due();
  // Who does not wait asks the kernel only where it has something to say.
  const bool asks = deadline > now || ring_->has_task_work();
  if ((!has_news && asks) || ring_->queued() > 0 || ring_->overflowed()) wait(now, deadline);
  size_t count = deferred_.empty() ? 0 : hand_out_deferred(out);
  if (!early_.empty()) count += hand_out_early(out.subspan(count));
  const uint32_t ready = ring_->ready();
  uint32_t seen = 0;
  for (; seen < ready && count < out.size(); ++seen) {
    count += on_completion(ring_->peek(seen), out[count]) ? 1 : 0;
  }
  ring_->advance(seen);
  counters_.events += count;
  return count;
}

void UringTransport::before_wait(MonoTime now) {
  if (now >= accept_retry_at_) [[unlikely]] {
    accept_retry_at_ = MonoTime::never();
    update_accepting();
  }
  if (!starved_.empty()) [[unlikely]]
    rearm_starved();
  if (!later_.empty()) arm_second_receives();
  if (!continue_.empty()) continue_files();
  buffers_->publish();
}

void UringTransport::wait(MonoTime now, MonoTime deadline) {
  const MonoTime until = deadline < accept_retry_at_ ? deadline : accept_retry_at_;
  const bool may_wait = ring_->ready() == 0 && deferred_.empty() && early_.empty() && continue_.empty() && until > now;
  Duration timeout = until == MonoTime::never() ? Duration{-1} : until - now;
  // The names of new peers come within the call, and the ends of sends for which nobody waits: see SendMode. What is
  // worth waking for comes behind them.
  const uint32_t sure = std::exchange(sure_, 0);
  if (sure > 0 && (timeout.ns < 0 || timeout > SILENCE_MAX)) timeout = SILENCE_MAX;
  if (ring_->overflowed()) ++counters_.cq_overflows;
  const uint64_t calls_before = ring_->enter_calls();
  const int result = ring_->enter(may_wait ? 1 + sure : 0, timeout);
  counters_.syscalls += ring_->enter_calls() - calls_before;
  // -EBUSY: completions must be taken first; -EAGAIN: the kernel is out of memory for requests. What
  // was not submitted stays queued for the next turn.
  ASSERT(result == 0 || result == -ETIME || result == -EINTR || result == -EBUSY || result == -EAGAIN);
  if (may_wait) {
    ++counters_.waits;
    if (ring_->ready() == 0) ++counters_.idle_wakes;
  }
}

// Events that no completion brings: the ends of sends that needed no waiting.
size_t UringTransport::hand_out_deferred(std::span<TransportEvent> out) {
  size_t count = 0;
  size_t taken = 0;
  for (; taken < deferred_.size() && count < out.size(); ++taken) {
    const Handle handle = deferred_[taken];
    Conn* conn = conns_.find(handle);
    if (conn == nullptr || !conn->has(SENDING) || conn->send_in_kernel()) continue;
    out[count] = {};
    const bool told =
        conn->has(ENDED | FAILED) ? settle(*conn, handle, out[count]) : finish_send(*conn, handle, out[count]);
    count += told ? 1 : 0;
  }
  deferred_.erase(deferred_.begin(), deferred_.begin() + static_cast<ptrdiff_t>(taken));
  return count;
}

// Returns true when `event` was filled.
bool UringTransport::on_completion(const Completion& completion, TransportEvent& event) {
  const Op op = static_cast<Op>(completion.user_data >> 56);
  if (op == Op::IGNORED) return false;
  event = {};
  const Handle handle = handle_of(completion.user_data);
  if (op == Op::ACCEPT) return on_accept(listeners_[handle.index], completion, event);
  if (op == Op::WAKE) return on_wake(wake_sources_[handle.index], completion, event);
  if (op == Op::OWN_NAME) return on_own_name(handle, completion.res), false;
  Conn* conn = conns_.find(handle);
  ASSERT(conn != nullptr);
  switch (op) {
    case Op::RECEIVE:
      return on_receive(*conn, handle, completion, event);
    case Op::SEND:
      return on_send(*conn, handle, completion, event);
    case Op::PEER_NAME:
      return on_peer_name(*conn, handle, completion.res, event);
    case Op::INSTALL:
      return on_installed(*conn, handle, completion.res, event);
    case Op::WRITABLE:
      return on_writable(*conn, handle, completion.res, event);
    case Op::COLD_READ:
      return on_cold_read(*conn, handle, completion.res, event);
    case Op::SHUTDOWN:
      on_shutdown(*conn);
      return false;
    default:
      ASSERT(false);  // every operation is above
  }
  return false;
}

// The first receive of a connection is a single one, the second and last a multishot. Many a connection is closed
// after its first request: then there is no multishot to be armed behind the bytes, cancelled, and waited for. The
// second is armed when the reactor has seen the first bytes and, if it answered at once, when the answer is sent.
void UringTransport::arm_receive(Conn& conn, Handle handle) {
  if (conn.has(ANNOUNCED) && conn.send.closes) [[unlikely]]
    return;
  io_uring_sqe* sqe = conn_sqe(conn, IORING_OP_RECV, tag(Op::RECEIVE, handle));
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->ioprio = conn.has(FIRST) ? uint16_t{0} : uint16_t{IORING_RECV_MULTISHOT};
  sqe->buf_group = RECEIVE_GROUP;
  conn.set(RECV_ARMED);
  conn.clear(LATER);
}

void UringTransport::arm_second_receives() {
  for (const Handle handle : later_) {
    Conn* conn = conns_.find(handle);
    if (conn == nullptr || !conn->has(LATER) || conn->has(SENDING | ENDED | FAILED | RECV_ARMED)) continue;
    if (conn->has(RECEIVING)) arm_receive(*conn, handle);
  }
  later_.clear();
}

bool UringTransport::on_receive(Conn& conn, Handle handle, const Completion& completion, TransportEvent& event) {
  if (!conn.has(ANNOUNCED) || conn.announced_turn == static_cast<uint16_t>(counters_.polls)) [[unlikely]] {
    early_.push_back(completion);
    return false;
  }
  const bool has_buffer = (completion.flags & IORING_CQE_F_BUFFER) != 0;
  const uint32_t buffer = completion.flags >> IORING_CQE_BUFFER_SHIFT;
  if ((completion.flags & IORING_CQE_F_MORE) == 0) [[unlikely]] {
    conn.clear(RECV_ARMED | RECV_CANCELLED);
    if (completion.res > 0 && conn.has(FIRST)) {
      conn.clear(FIRST);
      conn.set(LATER);
      later_.push_back(handle);
    } else if (completion.res > 0 && conn.has(RECEIVING) && !conn.has(ENDED | FAILED)) {
      ++counters_.receive_rearms;
      arm_receive(conn, handle);
    }
  }
  if (completion.res > 0 && !conn.has(ENDED | FAILED)) [[likely]] {
    ++counters_.receives;
    ++buffers_lent_;
    counters_.bytes_received += static_cast<uint32_t>(completion.res);
    event.kind = TransportEventKind::RECEIVED;
    event.conn = handle;
    event.context = conn.context;
    event.data = buffers_->data(buffer);
    event.size = static_cast<uint32_t>(completion.res);
    event.buffer = buffer;
    return true;
  }
  if (has_buffer) buffers_->give(buffer);
  return on_receive_end(conn, handle, completion.res, event);
}

// A receive that brought nothing for the reactor.
bool UringTransport::on_receive_end(Conn& conn, Handle handle, int result, TransportEvent& event) {
  if (conn.has(ENDED)) {
    free_if_done(conn);
    return false;
  }
  if (conn.has(FAILED) || result > 0) return false;
  switch (result) {
    case 0:
      conn.set(PEER_EOF);
      event.kind = TransportEventKind::PEER_CLOSED;
      event.conn = handle;
      event.context = conn.context;
      return true;
    case -ENOBUFS:
      ++counters_.receive_starved;
      if (conn.has(RECEIVING) && !conn.has(STARVED)) {
        conn.set(STARVED);
        starved_.push_back(handle);
      }
      return false;
    case -ECANCELED:
    case -EINTR:
    case -EAGAIN:
    case -ENOMEM:
      if (conn.has(RECEIVING) && !conn.has(RECV_ARMED)) arm_receive(conn, handle);
      return false;
    default:
      return fail(conn, handle, -result, event);
  }
}

// As many receives as there are buffers free; the others wait on, first come first served.
void UringTransport::rearm_starved() {
  ASSERT(buffers_lent_ <= buffers_->count());
  size_t room = buffers_->count() - buffers_lent_;
  size_t taken = 0;
  for (; taken < starved_.size() && room > 0; ++taken) {
    Conn* conn = conns_.find(starved_[taken]);
    if (conn == nullptr) continue;
    conn->clear(STARVED);
    if (conn->has(ENDED | FAILED | RECV_ARMED) || !conn->has(RECEIVING)) continue;
    ++counters_.receive_rearms;
    arm_receive(*conn, starved_[taken]);
    --room;
  }
  starved_.erase(starved_.begin(), starved_.begin() + static_cast<ptrdiff_t>(taken));
}

void UringTransport::release(uint32_t buffer) {
  ASSERT(buffer < buffers_->count() && buffers_lent_ > 0);
  --buffers_lent_;
  buffers_->give(buffer);
}

void UringTransport::set_receiving(Handle handle, bool on) {
  Conn& conn = live(handle);
  if (conn.has(RECEIVING) == on) return;
  if (!on) {
    conn.clear(RECEIVING);
    if (conn.has(RECV_ARMED) && !conn.has(RECV_CANCELLED)) {
      conn.set(RECV_CANCELLED);
      cancel(tag(Op::RECEIVE, handle));
    }
    return;
  }
  conn.set(RECEIVING);
  // A receive that was told to end is armed again when it has ended.
  if (!conn.has(RECV_ARMED | STARVED | PEER_EOF | FAILED)) arm_receive(conn, handle);
}

// An error came. It is told at once, or when the kernel has let go of the parts of a send.
bool UringTransport::fail(Conn& conn, Handle handle, int error, TransportEvent& event) {
  if (conn.has(FAILED)) return false;
  ++counters_.failures;
  conn.set(FAILED);
  conn.send.error = error;
  if (!conn.send_in_kernel()) return tell_failure(conn, handle, event);
  if (conn.send.armed != Op::IGNORED) cancel(tag(conn.send.armed, handle));
  return false;
}

bool UringTransport::tell_failure(Conn& conn, Handle handle, TransportEvent& event) {
  if (conn.has(FAIL_TOLD)) return false;
  conn.set(FAIL_TOLD);
  conn.clear(SENDING);
  drop_job(conn);
  event = {};
  event.kind = TransportEventKind::FAILED;
  event.conn = handle;
  event.context = conn.context;
  event.error = conn.send.error;
  return true;
}

bool UringTransport::is_open(Handle handle) const {
  const Conn* conn = conns_.find(handle);
  return conn != nullptr && conn->has(ANNOUNCED) && !conn->has(ENDED);
}

void UringTransport::cancel(uint64_t user_data, uint32_t flags) {
  io_uring_sqe* sqe = ring_->sqe();
  sqe->opcode = IORING_OP_ASYNC_CANCEL;
  sqe->fd = -1;
  sqe->addr = user_data;
  sqe->cancel_flags = flags;
  sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

void UringTransport::close_file(int file) {
  io_uring_sqe* sqe = ring_->sqe();
  sqe->opcode = IORING_OP_CLOSE;
  sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
  if (direct_) {
    sqe->file_index = static_cast<uint32_t>(file) + 1;
  } else {
    sqe->fd = file;
  }
}

void UringTransport::shutdown_send(Handle handle) {
  Conn& conn = live(handle);
  ASSERT(!conn.has(SENDING | FAILED));
  if (conn.has(SHUT)) return;
  conn.set(SHUT);
  if (conn.fd >= 0) {
    ++counters_.syscalls;
    (void)::shutdown(conn.fd, SHUT_WR);  // fails only where the connection is gone, which a receive tells
    return;
  }
  conn.set(SHUTTING);
  io_uring_sqe* sqe = conn_sqe(conn, IORING_OP_SHUTDOWN, tag(Op::SHUTDOWN, handle));
  sqe->len = SHUT_WR;
}

void UringTransport::on_shutdown(Conn& conn) {
  conn.clear(SHUTTING);
  if (!conn.has(ENDED)) return;
  close_file(conn.file);
  free_if_done(conn);
}

void UringTransport::abort_on_close(const Conn& conn) {
  static constexpr linger ABORT{.l_onoff = 1, .l_linger = 0};
  if (conn.fd >= 0) {
    ++counters_.syscalls;
    (void)::setsockopt(conn.fd, SOL_SOCKET, SO_LINGER, &ABORT, sizeof ABORT);
    return;
  }
  io_uring_sqe* sqe = socket_option_sqe(conn, URING_SOCKET_SETSOCKOPT, {SOL_SOCKET, SO_LINGER, &ABORT, sizeof ABORT});
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

io_uring_sqe* UringTransport::socket_option_sqe(const Conn& conn, uint32_t command, const SocketOption& option) {
  // The command's fields, which Debian 12's header does not name: level and optname share `addr`,
  // optlen is `file_index`, optval is `addr3`.
  io_uring_sqe* sqe = conn_sqe(conn, IORING_OP_URING_CMD, 0);
  sqe->off = command;
  sqe->addr = static_cast<uint64_t>(option.level) | (static_cast<uint64_t>(option.name) << 32);
  sqe->file_index = option.size;
  sqe->addr3 = reinterpret_cast<uint64_t>(option.value);
  return sqe;
}

bool UringTransport::end(Handle handle, bool with_reset) {
  Conn& conn = live(handle);
  ++(with_reset ? counters_.resets : counters_.closes);
  conn.set(ENDED);
  if (with_reset && !conn.send.closes) abort_on_close(conn);
  if (conn.has(RECV_ARMED) && !conn.has(RECV_CANCELLED)) cancel(tag(Op::RECEIVE, handle));
  if (conn.send.armed != Op::IGNORED) cancel(tag(conn.send.armed, handle));
  // Else on_shutdown() does, or what was linked to the send.
  if (!conn.has(SHUTTING) && !conn.send.closes) close_file(conn.file);
  // In the kernel's order of things the ordinary descriptor is one more reference to the socket.
  if (direct_ && conn.fd >= 0) ::close(conn.fd);
  conn.fd = -1;
  if (conn.has(SENDING)) {
    if (!conn.send_in_kernel()) deferred_.push_back(handle);
    return true;
  }
  free_if_done(conn);
  return false;
}

// The send side of an ended connection has come to rest: tells CLOSED where a send was outstanding.
bool UringTransport::after_end(Conn& conn, Handle handle, TransportEvent& event) {
  if (conn.send_in_kernel()) return false;
  drop_job(conn);
  const bool was_sending = conn.has(SENDING);
  if (was_sending) {
    conn.clear(SENDING);
    event = {};
    event.kind = TransportEventKind::CLOSED;
    event.conn = handle;
    event.context = conn.context;
  }
  free_if_done(conn);
  return was_sending;
}

void UringTransport::free_if_done(Conn& conn) {
  if (conn.has(RECV_ARMED | SENDING | SHUTTING) || conn.send_in_kernel()) return;
  conns_.give(&conn);
  if (scarce_) note_slots();
}

}  // namespace penstock
