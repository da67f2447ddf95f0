// Sending files. The pages go from the page cache into the socket by sendfile(2), which is quick and does
// not wait when they are resident. io_uring has no sendfile, and its splice always goes through a worker
// thread; that is what cold files want and hot ones do not.
#include "src/transport/uring/uring_transport.h"

#include <poll.h>

namespace penstock {

// Gives a direct descriptor an ordinary number too: once a connection, with its first file.
void UringTransport::install_descriptor(Conn& conn, Handle handle) {
  (void)conn_sqe(conn, URING_OP_FIXED_FD_INSTALL, tag(Op::INSTALL, handle));
  conn.send.armed = Op::INSTALL;
}

bool UringTransport::on_installed(Conn& conn, Handle handle, int result, TransportEvent& event) {
  conn.send.armed = Op::IGNORED;
  if (conn.has(ENDED)) {
    if (result >= 0) ::close(result);
    return settle(conn, handle, event);
  }
  if (result >= 0) conn.fd = result;
  if (conn.has(FAILED)) return settle(conn, handle, event);
  if (result < 0) return fail(conn, handle, -result, event);
  return push_and_report(conn, handle, event);
}

bool UringTransport::on_writable(Conn& conn, Handle handle, int result, TransportEvent& event) {
  conn.send.armed = Op::IGNORED;
  if (conn.has(ENDED | FAILED)) return settle(conn, handle, event);
  if (result < 0) return fail(conn, handle, -result, event);
  return push_and_report(conn, handle, event);
}

bool UringTransport::on_cold_read(Conn& conn, Handle handle, int result, TransportEvent& event) {
  conn.send.armed = Op::IGNORED;
  if (conn.has(ENDED | FAILED)) return settle(conn, handle, event);
  // 0: the file ended before its part did.
  if (result <= 0) return fail(conn, handle, result == 0 ? ENODATA : -result, event);
  conn.send.job->filled(static_cast<uint32_t>(result));
  return push_and_report(conn, handle, event);
}

// From a completion: the outcome becomes its event.
bool UringTransport::push_and_report(Conn& conn, Handle handle, TransportEvent& event) {
  switch (push(conn, handle)) {
    case SendJob::Result::DONE:
      return finish_send(conn, handle, event);
    case SendJob::Result::ERROR:
      return fail(conn, handle, conn.send.job->error(), event);
    default:
      return false;
  }
}

// From a call of the reactor, or between turns: the next poll() tells the outcome.
void UringTransport::push_files(Conn& conn, Handle handle) {
  const SendJob::Result result = push(conn, handle);
  if (result == SendJob::Result::ERROR && !conn.has(FAILED)) {
    ++counters_.failures;
    conn.set(FAILED);
    conn.send.error = conn.send.job->error();
  }
  if (result == SendJob::Result::DONE || result == SendJob::Result::ERROR) deferred_.push_back(handle);
}

// Moves what goes, and sees to it that the rest is taken up again.
SendJob::Result UringTransport::push(Conn& conn, Handle handle) {
  SendJob& job = *conn.send.job;
  const SendJob::Result result = job.push(conn.fd, options_.file_turn_bytes, conn.bytes_sent, counters_);
  switch (result) {
    case SendJob::Result::FULL:
      arm_writable(conn, handle);
      break;
    case SendJob::Result::SHARE_SPENT:
      continue_.push_back(handle);
      break;
    case SendJob::Result::COLD:
      ++counters_.file_waits;
      if (job.open_pipe()) {
        arm_cold_read(conn, handle);
      } else {
        // Out of descriptors or pipe pages: better to wait for the disk once than to fail the answer.
        job.force();
        continue_.push_back(handle);
      }
      break;
    default:
      break;
  }
  return result;
}

void UringTransport::arm_writable(Conn& conn, Handle handle) {
  io_uring_sqe* sqe = conn_sqe(conn, IORING_OP_POLL_ADD, tag(Op::WRITABLE, handle));
  sqe->poll32_events = POLLOUT;
  conn.send.armed = Op::WRITABLE;
}

void UringTransport::arm_cold_read(Conn& conn, Handle handle) {
  const SendJob& job = *conn.send.job;
  io_uring_sqe* sqe = ring_->sqe();
  sqe->opcode = IORING_OP_SPLICE;
  sqe->fd = job.pipe_in();
  sqe->off = UINT64_MAX;  // a pipe has no offset
  sqe->splice_fd_in = job.cold_fd();
  sqe->splice_off_in = job.cold_offset();
  sqe->len = job.cold_bytes();
  sqe->splice_flags = SPLICE_F_MOVE;
  sqe->user_data = tag(Op::COLD_READ, handle);
  conn.send.armed = Op::COLD_READ;
}

void UringTransport::continue_files() {
  std::vector<Handle> turn;
  turn.swap(continue_);
  for (const Handle handle : turn) {
    Conn* conn = conns_.find(handle);
    if (conn == nullptr || conn->has(ENDED | FAILED) || !conn->has(SENDING) || conn->send_in_kernel()) continue;
    push_files(*conn, handle);
  }
}

}  // namespace penstock
