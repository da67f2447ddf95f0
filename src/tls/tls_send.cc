// What the layer above sends, into records, into one send of the layer below at a time.
#include "src/tls/tls_transport.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/uio.h>
#include <utility>

namespace penstock {
namespace {

constexpr size_t SMALL_RECORD = 1'369;       // with all that TLS, TCP and IPv6 add, one Ethernet frame
constexpr uint32_t WARM_BYTES = 16 * 1'024;  // about a first congestion window (RFC 6928)
constexpr uint64_t WHOLE_MAX = 4'096;        // so short a send is one record at once: the client needs all of it anyway
constexpr Duration COLD_RETRY = milliseconds(1);
constexpr uint32_t COLD_TRIES_MAX = 50;
constexpr Duration WARM_LASTS = seconds(1);
constexpr uint64_t COLD_WINDOW_BYTES = 256 * 1'024;

}  // namespace

void TlsTransport::send(Handle handle, std::span<const SendPart> parts, bool last) {
  if (find(handle) == nullptr) return below_.send(handle, parts, last);
  Conn& conn = live(handle);
  const bool unhurried = std::exchange(unhurried_, Handle{}) == handle;
  ASSERT(!conn.send_open && !conn.shut_wanted && !parts.empty());
  // The FAILED event is in the batch that the caller is working through: it ends this send, too.
  if (conn.fail_told) return;
  conn.send_open = true;
  if (conn.error != 0) return;
  if (now_ - conn.warm_at > WARM_LASTS) conn.warmth = 0;
  conn.warm_at = now_;
  conn.sending = sendings_.take(parts);
  ASSERT(conn.sending != nullptr);  // as many as connections
  if (conn.with_below) return;      // a ticket, the answer to a key update: our turn comes with its SENT
  encrypt(conn);
  flush(conn, unhurried && !last);  // the close comes behind the end of a last one
}

// Encrypts until the window is full, the parts are through, or a cold file has to be waited for.
void TlsTransport::encrypt(Conn& conn) {
  if (conn.sending == nullptr) return;
  offer_key(conn);
  if (conn.session->handed_over() || conn.error != 0) return;  // flush() sends it
  while (conn.out.bytes() < WINDOW_BYTES) {
    if (conn.sending->next == conn.sending->parts.size()) return drop_sending(conn);
    if (!encrypt_record(conn)) return;
  }
  if (conn.sending->next == conn.sending->parts.size()) drop_sending(conn);
}

size_t TlsTransport::record_bytes(const Conn& conn, uint64_t left) const {
  if (conn.warmth >= WARM_BYTES || left <= WHOLE_MAX) return TlsSession::RECORD_MAX;
  return SMALL_RECORD;
}

bool TlsTransport::encrypt_record(Conn& conn) {
  Sending& sending = *conn.sending;
  const SendPart& part = sending.parts[sending.next];
  uint64_t left = part.size - sending.done;
  const size_t wanted = [&] {
    uint64_t all = left;
    for (uint32_t i = sending.next + 1; i < sending.parts.size() && all <= WHOLE_MAX; ++i) all += sending.parts[i].size;
    return record_bytes(conn, all);
  }();
  const bool is_last = sending.next + 1 == sending.parts.size();
  std::span<const char> record;
  if (part.fd < 0 && (left >= wanted || is_last)) {
    // Where it lies: a body is read by the cipher alone.
    record = {static_cast<const char*>(part.data) + sending.done,
              static_cast<size_t>(std::min<uint64_t>(left, wanted))};
    sending.done += record.size();
    if (sending.done == part.size) {
      ++sending.next;
      sending.done = 0;
    }
  } else {
    const size_t size = gather(conn, wanted);
    if (size == 0) return false;
    record = {scratch_.get(), size};
    bytes_gathered_ += size;
  }
  if (!conn.session->write(record)) {
    note(conn, conn.session->reason());
    fail(conn, EPROTO);
    return false;
  }
  conn.plain_out += record.size();
  bytes_encrypted_ += record.size();
  if (conn.warmth < WARM_BYTES) conn.warmth += static_cast<uint32_t>(record.size());
  return true;
}

// Puts a record together in scratch_ out of short parts and files. 0: a cold file must be waited for, or it failed.
size_t TlsTransport::gather(Conn& conn, size_t wanted) {
  Sending& sending = *conn.sending;
  size_t size = 0;
  while (size < wanted && sending.next < sending.parts.size()) {
    const SendPart& part = sending.parts[sending.next];
    size_t now = static_cast<size_t>(std::min<uint64_t>(part.size - sending.done, wanted - size));
    if (part.fd < 0) {
      std::memcpy(scratch_.get() + size, static_cast<const char*>(part.data) + sending.done, now);
    } else {
      const int64_t got = read_file(conn, part, scratch_.get() + size, now);
      if (got <= 0) return conn.error != 0 ? 0 : size;
      now = static_cast<size_t>(got);
    }
    size += now;
    sending.done += now;
    if (sending.done < part.size) continue;
    ++sending.next;
    sending.done = 0;
  }
  return size;
}

// Like pread(2); 0: it comes from a disk, and is asked for again later. -1: failed.
int64_t TlsTransport::read_file(Conn& conn, const SendPart& part, char* out, size_t size) {
  Sending& sending = *conn.sending;
  const auto offset = static_cast<off_t>(part.offset + sending.done);
  const iovec where{.iov_base = out, .iov_len = size};
  const bool may_wait = !part.cold || sending.cold_tries > COLD_TRIES_MAX;
  ssize_t got = 0;
  do {
    got = ::preadv2(part.fd, &where, 1, offset, may_wait ? 0 : RWF_NOWAIT);
    // A file system that knows no such question is read as if it were warm.
    if (got < 0 && errno == EOPNOTSUPP) got = ::preadv2(part.fd, &where, 1, offset, 0);
  } while (got < 0 && errno == EINTR);
  if (got > 0) {
    sending.cold_tries = 0;
    bytes_from_files_ += static_cast<uint64_t>(got);
    return got;
  }
  if (got < 0 && errno == EAGAIN) {
    if (sending.cold_tries++ == 0) {
      (void)::posix_fadvise(part.fd, offset, static_cast<off_t>(std::min(part.size - sending.done, COLD_WINDOW_BYTES)),
                            POSIX_FADV_WILLNEED);
    }
    cold_.push_back(conn.handle);
    cold_at_ = std::min(cold_at_, now_ + COLD_RETRY);
    return 0;
  }
  fail(conn, got == 0 ? ENODATA : errno);  // cut while it was being sent: the promised length cannot be kept
  return -1;
}

void TlsTransport::retry_cold() {
  cold_at_ = MonoTime::never();
  std::vector<Handle> due;
  due.swap(cold_);
  for (const Handle handle : due) {
    Conn* const conn = find(handle);
    if (conn == nullptr || conn->state != State::OPEN || conn->error != 0 || conn->with_below) continue;
    encrypt(*conn);
    flush(*conn);
  }
}

void TlsTransport::flush(Conn& conn, bool unhurried) {
  if (conn.with_below || conn.broken_below) return;
  if (conn.session && conn.session->handed_over()) return pass_down(conn);
  if (conn.out.empty()) return;
  conn.out.move_front(std::min(conn.out.blocks().size(), SEND_PARTS_MAX), conn.flight);
  InplaceVector<SendPart, SEND_PARTS_MAX> parts;
  for (const CipherPool::Block& block : conn.flight.blocks())
    parts.push_back(SendPart::memory(block->data, block->used));
  conn.plain_flight = conn.plain_out;
  conn.plain_out = 0;
  conn.below_mark = below_.bytes_sent(conn.handle);
  conn.with_below = true;
  // Else the end of this send is where the next records go out.
  if (unhurried && conn.sending == nullptr && conn.out.empty()) below_.no_hurry(conn.handle);
  below_.send(conn.handle, parts.values(), false);
}

uint64_t TlsTransport::bytes_sent(Handle handle) const {
  const Conn* const conn = find(handle);
  if (conn == nullptr) return below_.bytes_sent(handle);
  if (!conn->with_below) return conn->plain_sent;
  if (conn->lent) return conn->plain_sent + below_.bytes_sent(handle) - conn->below_mark;
  // In proportion: ciphertext is longer by a constant few bytes a record.
  const uint64_t moved = std::min<uint64_t>(below_.bytes_sent(handle) - conn->below_mark, conn->flight.bytes());
  return conn->plain_sent + conn->plain_flight * moved / conn->flight.bytes();
}

void TlsTransport::drop_sending(Conn& conn) {
  if (conn.sending == nullptr) return;
  sendings_.give(conn.sending);
  conn.sending = nullptr;
}

// The connection is dead for the layer above, which is told with the next batch.
void TlsTransport::fail(Conn& conn, int error) {
  if (conn.error == 0) conn.error = error;
  drop_inputs(conn);
  make_ready(conn);
}

}  // namespace penstock
