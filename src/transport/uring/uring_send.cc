// Sending memory: one operation in the kernel a connection; what the kernel did not take is sent again
// when the socket has room. Short sends are not hidden behind MSG_WAITALL, so that bytes_sent() is true.
#include "src/transport/kernel_key.h"
#include "src/transport/socket_address.h"
#include "src/transport/uring/uring_transport.h"

#include <algorithm>

namespace penstock {

namespace {

// An entry's length is 32 bits and a result 31: larger parts go as jobs, in pieces.
constexpr uint64_t SINGLE_SEND_BYTES_MAX = uint64_t{1} << 30;

// What a socket takes at once unless its peer is behind. Where it does not, what is left goes out a little later.
constexpr uint64_t AT_ONCE_BYTES_MAX = 16 * 1024;

}  // namespace

void UringTransport::send(Handle handle, std::span<const SendPart> parts, bool last) {
  Conn& conn = live(handle);
  ASSERT(!conn.has(SENDING | SHUT) && !parts.empty());
  // The FAILED event is in the batch that the caller is working through: it ends this send, too.
  if (conn.has(FAIL_TOLD)) [[unlikely]]
    return;
  ++counters_.sends;
  conn.set(SENDING);
  // A connection whose second receive is still to be armed needs its SENT for that.
  const bool unhurried = std::exchange(unhurried_, Handle{}) == handle;
  SendMode mode = SendMode::USUAL;
  if (unhurried && last && direct_ && conn.fd < 0 && !conn.has(RECV_ARMED)) mode = SendMode::CLOSING;
  if (unhurried && !last && conn.has(RECV_ARMED) && !conn.has(LATER)) mode = SendMode::AT_ONCE;
  const SendPart& first = parts.front();
  if (parts.size() == 1 && first.fd < 0 && first.size <= SINGLE_SEND_BYTES_MAX) [[likely]] {
    ASSERT(first.size > 0);
    if (last) conn.set(SEND_MORE);
    conn.send.data = static_cast<const char*>(first.data);
    conn.send.left = static_cast<uint32_t>(first.size);
    submit_send(conn, handle, mode);
    return;
  }
  conn.send.job = jobs_.take(parts, last);
  ASSERT(conn.send.job != nullptr);  // as many as connections
  if (!conn.send.job->has_files()) {
    submit_message(conn, handle, mode);
  } else if (conn.fd < 0) {
    install_descriptor(conn, handle);
  } else {
    push_files(conn, handle);
  }
}

// Where the kernel seals, what is sent is another text than ours, and it refuses to send that without a copy.
bool UringTransport::goes_uncopied(const Conn& conn, uint64_t bytes) const {
  return zerocopy_min_ > 0 && bytes >= zerocopy_min_ && !conn.send.sealed;
}

void UringTransport::submit_send(Conn& conn, Handle handle, SendMode mode) {
  const bool zerocopy = goes_uncopied(conn, conn.send.left);
  const uint8_t opcode = zerocopy ? IORING_OP_SEND_ZC : IORING_OP_SEND;
  if (mode == SendMode::CLOSING) ring_->keep_together(2);
  io_uring_sqe* sqe = conn_sqe(conn, opcode, tag(Op::SEND, handle));
  sqe->addr = reinterpret_cast<uint64_t>(conn.send.data);
  sqe->len = conn.send.left;
  sqe->msg_flags = MSG_NOSIGNAL | (conn.has(SEND_MORE) ? uint32_t{MSG_MORE} : 0U);
  set_mode(conn, *sqe, mode, conn.send.left, zerocopy);
  conn.send.armed = Op::SEND;
}

// REQUIRES: `sqe` is the last entry taken.
void UringTransport::set_mode(Conn& conn, io_uring_sqe& sqe, SendMode mode, uint64_t bytes, bool zerocopy) {
  if (mode == SendMode::WITH_ROOM) sqe.ioprio = IORING_RECVSEND_POLL_FIRST;
  if (zerocopy) return count_zerocopy(sqe);
  if ((mode != SendMode::AT_ONCE && mode != SendMode::CLOSING) || bytes > AT_ONCE_BYTES_MAX) return;
  sqe.msg_flags |= MSG_DONTWAIT;  // the kernel does not poll then, but says -EAGAIN
  ++sure_;
  if (mode == SendMode::CLOSING) close_behind(conn, sqe);
}

// The close goes with the send, and is called off where the kernel does not take all of it.
void UringTransport::close_behind(Conn& conn, io_uring_sqe& send) {
  send.flags |= IOSQE_IO_LINK;
  send.msg_flags |= MSG_WAITALL;  // less than all breaks the link
  conn.send.closes = true;
  close_file(conn.file);
}

void UringTransport::submit_message(Conn& conn, Handle handle, SendMode mode) {
  SendJob& job = *conn.send.job;
  const bool zerocopy = goes_uncopied(conn, job.bytes_left());
  const uint8_t opcode = zerocopy ? IORING_OP_SENDMSG_ZC : IORING_OP_SENDMSG;
  if (mode == SendMode::CLOSING) ring_->keep_together(2);
  io_uring_sqe* sqe = conn_sqe(conn, opcode, tag(Op::SEND, handle));
  sqe->addr = reinterpret_cast<uint64_t>(job.message());
  sqe->len = 1;
  sqe->msg_flags = static_cast<uint32_t>(job.message_flags());
  set_mode(conn, *sqe, mode, job.bytes_left(), zerocopy);
  conn.send.armed = Op::SEND;
}

void UringTransport::submit_rest(Conn& conn, Handle handle) {
  if (conn.send.job != nullptr) {
    submit_message(conn, handle, SendMode::WITH_ROOM);
  } else {
    submit_send(conn, handle, SendMode::WITH_ROOM);
  }
}

void UringTransport::count_zerocopy(io_uring_sqe& sqe) {
  ++counters_.sends_zerocopy;
  // Reporting came in 6.2; direct descriptors as used here, in 6.8.
  if (direct_) sqe.ioprio |= URING_SEND_ZC_REPORT_USAGE;
}

bool UringTransport::on_send(Conn& conn, Handle handle, const Completion& completion, TransportEvent& event) {
  const bool is_notice = (completion.flags & IORING_CQE_F_NOTIF) != 0;
  if (is_notice) [[unlikely]] {
    --conn.send.zerocopy_notices;
    if ((static_cast<uint32_t>(completion.res) & URING_NOTIF_USAGE_ZC_COPIED) != 0) ++counters_.sends_zerocopy_copied;
  } else {
    conn.send.armed = Op::IGNORED;
    const bool zerocopy = (completion.flags & IORING_CQE_F_MORE) != 0;
    if (zerocopy) ++conn.send.zerocopy_notices;
    if (completion.res > 0) count_sent(conn, static_cast<uint32_t>(completion.res), zerocopy);
    if (conn.send.closes && !is_sent(conn)) [[unlikely]]
      keep_file(conn);
  }
  if (conn.has(ENDED | FAILED)) [[unlikely]]
    return settle(conn, handle, event);
  if (!is_notice && completion.res < 0) [[unlikely]] {
    if (completion.res != -EINTR && completion.res != -EAGAIN) return fail(conn, handle, -completion.res, event);
    submit_rest(conn, handle);
    return false;
  }
  if (conn.send.armed != Op::IGNORED) return false;  // a notice, while the rest is under way
  if (is_sent(conn)) return conn.send.zerocopy_notices == 0 && finish_send(conn, handle, event);
  ++counters_.sends_partial;
  submit_rest(conn, handle);
  return false;
}

bool UringTransport::is_sent(const Conn& conn) {
  return conn.send.job != nullptr ? conn.send.job->done() : conn.send.left == 0;
}

// The close behind a send was called off.
void UringTransport::keep_file(Conn& conn) {
  conn.send.closes = false;
  if (conn.has(ENDED)) close_file(conn.file);
}

void UringTransport::count_sent(Conn& conn, uint32_t bytes, bool zerocopy) {
  conn.bytes_sent += bytes;
  counters_.bytes_sent += bytes;
  if (!zerocopy) counters_.bytes_copied += bytes;
  if (conn.send.job != nullptr) {
    conn.send.job->consume(bytes);
  } else {
    ASSERT(bytes <= conn.send.left);
    conn.send.data += bytes;
    conn.send.left -= bytes;
  }
}

int UringTransport::take_key(Handle handle, std::span<const char> key) {
  Conn& conn = live(handle);
  ASSERT(!conn.has(SENDING | SHUT));
  const int error = give_kernel_key(key, !conn.send.sealed, [&](const SocketOption& option) {
    ++counters_.syscalls;
    if (conn.fd >= 0) return set_socket_option(conn.fd, option);
    io_uring_sqe& sqe = *socket_option_sqe(conn, URING_SOCKET_SETSOCKOPT, option);
    sqe.user_data = tag(Op::IGNORED, handle);
    const std::optional<int32_t> answer = answer_now(sqe);
    return answer ? -std::min(*answer, 0) : EIO;
  });
  if (error == 0) conn.send.sealed = true;
  return error;
}

void UringTransport::send_record(Handle handle, uint8_t type, std::span<const char> bytes) {
  Conn& conn = live(handle);
  ASSERT(conn.send.sealed && !conn.has(SENDING | SHUT));
  if (conn.has(FAIL_TOLD)) return;
  ++counters_.sends;
  conn.set(SENDING);
  const SendPart part = SendPart::memory(bytes.data(), bytes.size());
  conn.send.job = jobs_.take(std::span(&part, 1), false);
  ASSERT(conn.send.job != nullptr);
  conn.send.job->set_record_type(type);
  submit_message(conn, handle, SendMode::USUAL);
}

// The result of an entry, the last one queued, that the kernel answers within the call. Asked in the middle of a turn:
// what is queued is submitted with it, and the answer is found where it will be passed over later. Nothing: the kernel
// had no room to say it, or was too busy to be asked, and then is not.
std::optional<int32_t> UringTransport::answer_now(io_uring_sqe& sqe) {
  const uint64_t mark = sqe.user_data;
  const uint32_t before = ring_->ready();
  for (int tries = 0; ring_->queued() > 0 && tries < 3; ++tries) (void)ring_->enter(0, {});
  if (ring_->queued() > 0) sqe.opcode = IORING_OP_NOP;  // which the ring refuses; what it points at may go
  for (uint32_t i = ring_->ready(); i > before;) {
    const Completion& completion = ring_->peek(--i);
    if (completion.user_data == mark) return completion.res;
  }
  return std::nullopt;
}

uint64_t UringTransport::bytes_held(Handle handle) {
  const Conn& conn = live(handle);
  if (conn.send.closes) return 0;
  if (!direct_) {
    ++counters_.syscalls;
    return unsent_bytes(conn.file);
  }
  io_uring_sqe& sqe = *conn_sqe(conn, IORING_OP_URING_CMD, tag(Op::IGNORED, handle));
  sqe.off = URING_SOCKET_SIOCOUTQ;
  ++counters_.syscalls;
  return static_cast<uint32_t>(std::max(answer_now(sqe).value_or(0), 0));
}

bool UringTransport::finish_send(Conn& conn, Handle handle, TransportEvent& event) {
  conn.clear(SENDING | SEND_MORE);
  if (conn.has(LATER) && !conn.send.closes) later_.push_back(handle);
  drop_job(conn);
  event.kind = TransportEventKind::SENT;
  event.conn = handle;
  event.context = conn.context;
  return true;
}

// The send of a connection that ended or failed has come to rest.
bool UringTransport::settle(Conn& conn, Handle handle, TransportEvent& event) {
  if (conn.send_in_kernel()) return false;
  return conn.has(ENDED) ? after_end(conn, handle, event) : tell_failure(conn, handle, event);
}

void UringTransport::drop_job(Conn& conn) {
  if (conn.send.job == nullptr) return;
  jobs_.give(conn.send.job);
  conn.send.job = nullptr;
}

}  // namespace penstock
