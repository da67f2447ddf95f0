// Sending over the engine: memory as it is, files by chunks, as much at a time as there is room for.
#include "src/transport/engine/engine_transport.h"

#include <algorithm>
#include <array>
#include <cerrno>

namespace penstock {

namespace {

constexpr uint64_t PIECE_BYTES_MAX = 256 * 1'024;         // of memory given to the engine at once
constexpr uint64_t QUEUED_BYTES_MAX = 2 * 1'024 * 1'024;  // of a connection; what is beyond, close() cuts off
constexpr uint32_t CHUNKS_MAX = 16;                       // of a connection, while chunks are plenty
constexpr uint32_t CHUNKS_SCARCE = 2;                     // … and when they are not
constexpr Duration RETRY = milliseconds(1);
constexpr uint32_t TRIES_MAX = 50;  // of a read that the kernel was told to prepare, before we wait for the disk

}  // namespace

void EngineTransport::send(Handle handle, std::span<const SendPart> parts, bool last) {
  Conn& conn = live(handle);
  ASSERT(!conn.has(SENDING) && !parts.empty() && parts.size() <= SEND_PARTS_MAX);
  // The FAILED event is in the batch that the caller is working through: it ends this send, too.
  if (conn.has(FAILED)) return;
  ++counters_.sends;
  conn.set(SENDING);
  if (last) conn.set(LAST);
  if (send_at_once(conn, parts)) [[likely]] {
    if (last) stack_.shutdown_send(conn.engine);
    return;
  }
  conn.job = jobs_.take(parts);
  ASSERT(conn.job != nullptr);  // as many as connections
  feed(conn);
}

// The usual send: some memory, not too much of it.
bool EngineTransport::send_at_once(Conn& conn, std::span<const SendPart> parts) {
  InplaceVector<NetPart, SEND_PARTS_MAX> pieces;
  uint64_t bytes = 0;
  for (const SendPart& part : parts) {
    ASSERT(part.size > 0);
    bytes += part.size;
    if (part.fd >= 0 || bytes > PIECE_BYTES_MAX) return false;
    pieces.push_back({part.data, static_cast<uint32_t>(part.size), part.sums, part.sum_stride});
  }
  if (!stack_.send(conn.engine, pieces.values(), 0)) return false;
  ++conn.in_engine;
  conn.queued += bytes;
  counters_.bytes_sent += bytes;
  return true;
}

// Gives the engine what it takes of the outstanding send.
void EngineTransport::feed(Conn& conn) {
  while (conn.job != nullptr && !conn.has(FAILED | READING)) {
    Job& job = *conn.job;
    if (job.next == job.parts.size()) {
      if (conn.has(LAST)) stack_.shutdown_send(conn.engine);
      drop_job(conn);
      return;
    }
    if (job.parts[job.next].fd < 0 ? !feed_memory(conn) : !feed_file(conn)) return;
  }
}

// False: no more for now.
bool EngineTransport::feed_memory(Conn& conn) {
  Job& job = *conn.job;
  const uint64_t waiting = stack_.unacknowledged_bytes(conn.engine);
  if (waiting >= QUEUED_BYTES_MAX) return false;  // SENT comes back here
  InplaceVector<NetPart, SEND_PARTS_MAX> parts;
  uint64_t bytes = 0;
  uint32_t next = job.next;
  uint64_t done = job.part_done;
  while (next < job.parts.size() && job.parts[next].fd < 0 && bytes < PIECE_BYTES_MAX) {
    const SendPart& part = job.parts[next];
    uint64_t size = std::min(part.size - done, PIECE_BYTES_MAX - bytes);
    if (part.sums != nullptr && size < part.size - done) {  // whole strides, so that the next piece begins with one
      size -= size % part.sum_stride;
      if (size == 0) break;
    }
    const SendPart piece = part.slice(done, size);
    parts.push_back({piece.data, static_cast<uint32_t>(size), piece.sums, piece.sum_stride});
    bytes += size;
    done += size;
    if (done < part.size) break;
    ++next;
    done = 0;
  }
  if (!stack_.send(conn.engine, parts.values(), 0)) {
    wait_for_room(conn);
    return false;
  }
  ++conn.in_engine;
  conn.queued += bytes;
  counters_.bytes_sent += bytes;
  job.next = next;
  job.part_done = done;
  return true;
}

bool EngineTransport::feed_file(Conn& conn) {
  Job& job = *conn.job;
  const uint32_t limit = chunks_.free_count() * 2 > notes_.size() ? CHUNKS_MAX : CHUNKS_SCARCE;
  if (conn.chunk_count >= limit) return false;  // SENT comes back here
  const uint32_t chunk = chunks_.take();
  if (chunk == FileChunks::NONE) {
    if (conn.chunk_count == 0) wait_for_room(conn);
    return false;
  }
  const SendPart& part = job.parts[job.next];
  const auto wanted = static_cast<uint32_t>(std::min<uint64_t>(part.size - job.part_done, FileChunks::BYTES));
  const uint64_t offset = part.offset + job.part_done;
  int got = job.tries > TRIES_MAX ? chunks_.read_now(chunk, part.fd, offset, wanted)
                                  : chunks_.read(chunk, part.fd, offset, wanted, !part.cold);
  ++counters_.syscalls;
  if (got > 0) return lend(conn, chunk, got);
  if (got == -EINPROGRESS) {
    ++counters_.file_waits;
    conn.set(READING);
    conn.reading = chunk;
    notes_[chunk].conn = conns_.handle_of(&conn);
    return false;
  }
  chunks_.give(chunk);
  if (got == -EAGAIN) {
    if (job.tries++ == 0) ++counters_.file_waits;
    wait_for_room(conn);
    return false;
  }
  fail_send(conn, got == 0 ? ENODATA : -got);
  return false;
}

// `bytes` of the current part are in the chunk: they go to the engine.
bool EngineTransport::lend(Conn& conn, uint32_t chunk, int bytes) {
  Job& job = *conn.job;
  const NetPart part{.data = chunks_.data(chunk), .size = static_cast<uint32_t>(bytes)};
  if (!stack_.send(conn.engine, {&part, 1}, uint64_t{chunk} + 1)) {
    chunks_.give(chunk);
    wait_for_room(conn);
    return false;
  }
  notes_[chunk].next = conn.chunks;
  conn.chunks = chunk;
  ++conn.chunk_count;
  ++conn.in_engine;
  conn.queued += part.size;
  counters_.bytes_sent += part.size;
  counters_.bytes_from_files += part.size;
  job.tries = 0;
  job.part_done += part.size;
  if (job.part_done == job.parts[job.next].size) {
    ++job.next;
    job.part_done = 0;
  }
  return true;
}

// A send to the engine is acknowledged.
void EngineTransport::sent(Conn& conn, uint64_t token) {
  --conn.in_engine;
  if (token != 0) {
    const auto chunk = static_cast<uint32_t>(token - 1);
    uint32_t* at = &conn.chunks;
    while (*at != chunk) at = &notes_[*at].next;
    *at = notes_[chunk].next;
    --conn.chunk_count;
    chunks_.give(chunk);
  }
  feed(conn);
}

void EngineTransport::wait_for_room(Conn& conn) {
  if (!conn.has(WAITING)) {
    conn.set(WAITING);
    ++counters_.sends_partial;
    waiting_.push_back(conns_.handle_of(&conn));
  }
  retry_at_ = std::min(retry_at_, now_ + RETRY);
}

void EngineTransport::retry_waiting() {
  retry_at_ = MonoTime::never();
  retrying_.swap(waiting_);
  for (const Handle handle : retrying_) {
    Conn* conn = conns_.find(handle);
    if (conn == nullptr) continue;
    conn->clear(WAITING);
    if (!conn->has(ENDED)) feed(*conn);
  }
  retrying_.clear();
}

void EngineTransport::take_reads() {
  std::array<FileChunks::Done, 32> done;
  while (const size_t count = chunks_.completed(done)) {
    for (size_t i = 0; i < count; ++i) {
      const uint32_t chunk = done[i].chunk;
      Conn* conn = conns_.find(notes_[chunk].conn);
      ASSERT(conn != nullptr && conn->reading == chunk);  // it waits for this
      conn->clear(READING);
      conn->reading = FileChunks::NONE;
      if (conn->has(ENDED | FAILED)) {
        chunks_.give(chunk);
        finish(*conn);
      } else if (done[i].result <= 0) {
        chunks_.give(chunk);
        fail_send(*conn, done[i].result == 0 ? ENODATA : -done[i].result);
      } else if (lend(*conn, chunk, done[i].result)) {
        feed(*conn);
      }
    }
  }
}

// The file is shorter than its part said, or cannot be read: the peer must not take what it has for the whole.
void EngineTransport::fail_send(Conn& conn, int error) {
  ++counters_.failures;
  conn.set(FAILED);
  conn.error = error;
  conn.clear(ENGINE);
  if (stack_.reset(conn.engine)) {
    conn.set(BUSY);
  } else {
    give_chunks(conn);
  }
  drop_job(conn);
  finish(conn);
}

void EngineTransport::give_chunks(Conn& conn) {
  while (conn.chunks != FileChunks::NONE) {
    const uint32_t chunk = conn.chunks;
    conn.chunks = notes_[chunk].next;
    chunks_.give(chunk);
  }
  conn.chunk_count = 0;
}

void EngineTransport::drop_job(Conn& conn) {
  if (conn.job == nullptr) return;
  jobs_.give(conn.job);
  conn.job = nullptr;
}

}  // namespace penstock
