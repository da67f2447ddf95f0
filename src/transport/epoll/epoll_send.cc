// Sending over epoll: tried at once, inside send(); the rest goes when the socket has room.
#include "src/transport/epoll/epoll_transport.h"
#include "src/transport/kernel_key.h"

#include <algorithm>
#include <fcntl.h>
#include <sys/socket.h>

namespace penstock {

namespace {

// A cold file: the kernel is told to read ahead, and is asked again so often before we wait for the disk.
constexpr Duration COLD_RETRY = milliseconds(1);
constexpr uint32_t COLD_TRIES_MAX = 50;

}  // namespace

void EpollTransport::send(Handle handle, std::span<const SendPart> parts, bool last) {
  Conn& conn = live(handle);
  ASSERT(!conn.has(SENDING | SHUT) && !parts.empty());
  // The FAILED event is in the batch that the caller is working through: it ends this send, too.
  if (conn.has(FAIL_TOLD)) return;
  ++counters_.sends;
  conn.set(SENDING);
  const SendPart& first = parts.front();
  if (parts.size() == 1 && first.fd < 0) [[likely]] {
    ASSERT(first.size > 0);
    if (last) conn.set(SEND_MORE);
    conn.data = static_cast<const char*>(first.data);
    conn.left = first.size;
  } else {
    conn.job = jobs_.take(parts, last);
    ASSERT(conn.job != nullptr);  // as many as connections
  }
  push(conn, handle);
}

int EpollTransport::take_key(Handle handle, std::span<const char> key) {
  Conn& conn = live(handle);
  ASSERT(!conn.has(SENDING | SHUT));
  const int error = give_kernel_key(key, !conn.has(SEALED), [&](const SocketOption& option) {
    ++counters_.syscalls;
    return set_socket_option(conn.fd, option);
  });
  if (error == 0) conn.set(SEALED);
  return error;
}

void EpollTransport::send_record(Handle handle, uint8_t type, std::span<const char> bytes) {
  Conn& conn = live(handle);
  ASSERT(conn.has(SEALED) && !conn.has(SENDING | SHUT));
  if (conn.has(FAIL_TOLD)) return;
  ++counters_.sends;
  conn.set(SENDING);
  const SendPart part = SendPart::memory(bytes.data(), bytes.size());
  conn.job = jobs_.take(std::span(&part, 1), false);
  ASSERT(conn.job != nullptr);
  conn.job->set_record_type(type);
  push(conn, handle);
}

void EpollTransport::push(Conn& conn, Handle handle) {
  if (!conn.has(SENDING) || conn.has(FAILED)) return;
  conn.job != nullptr ? push_job(conn, handle, 0) : push_single(conn, handle);
}

void EpollTransport::push_single(Conn& conn, Handle handle) {
  ssize_t sent = 0;
  do {
    sent = ::send(conn.fd, conn.data, conn.left, MSG_NOSIGNAL | (conn.has(SEND_MORE) ? MSG_MORE : 0));
    ++counters_.syscalls;
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && errno != EAGAIN) return send_failed(conn, handle, errno);
  if (sent > 0) {
    const auto bytes = static_cast<uint64_t>(sent);
    conn.data += bytes;
    conn.left -= bytes;
    conn.bytes_sent += bytes;
    counters_.bytes_sent += bytes;
    counters_.bytes_copied += bytes;
  }
  if (conn.left == 0) return finish(handle);
  ++counters_.sends_partial;
  conn.set(BLOCKED);
}

void EpollTransport::push_job(Conn& conn, Handle handle, uint32_t cold_tries) {
  SendJob& job = *conn.job;
  switch (job.push(conn.fd, options_.file_turn_bytes, conn.bytes_sent, counters_)) {
    case SendJob::Result::DONE:
      return finish(handle);
    case SendJob::Result::ERROR:
      return send_failed(conn, handle, job.error());
    case SendJob::Result::FULL:
      return conn.set(BLOCKED);
    case SendJob::Result::SHARE_SPENT:
      return continue_.push_back(handle);
    case SendJob::Result::COLD:
      break;
  }
  if (cold_tries == 0) {
    ++counters_.file_waits;
    ++counters_.syscalls;
    (void)::posix_fadvise(job.cold_fd(), static_cast<off_t>(job.cold_offset()), job.cold_bytes(), POSIX_FADV_WILLNEED);
  }
  if (cold_tries >= COLD_TRIES_MAX) job.force();
  cold_.push_back({handle, cold_tries + 1});
  cold_retry_at_ = std::min(cold_retry_at_, now_ + COLD_RETRY);
}

void EpollTransport::send_failed(Conn& conn, Handle handle, int error) {
  ++counters_.failures;
  conn.set(FAILED);
  conn.error = error;
  deferred_.push_back(handle);
}

void EpollTransport::retry_cold() {
  cold_retry_at_ = MonoTime::never();
  std::vector<ColdSend> due;
  due.swap(cold_);
  for (const ColdSend& one : due) {
    Conn* conn = conns_.find(one.conn);
    if (conn == nullptr || conn->job == nullptr || conn->has(FAILED | BLOCKED)) continue;
    push_job(*conn, one.conn, one.tries);
  }
}

void EpollTransport::continue_files() {
  std::vector<Handle> due;
  due.swap(continue_);
  for (const Handle handle : due) {
    Conn* conn = conns_.find(handle);
    if (conn == nullptr || conn->job == nullptr || conn->has(FAILED | BLOCKED)) continue;
    push_job(*conn, handle, 0);
  }
}

void EpollTransport::drop_job(Conn& conn) {
  if (conn.job == nullptr) return;
  jobs_.give(conn.job);
  conn.job = nullptr;
}

}  // namespace penstock
