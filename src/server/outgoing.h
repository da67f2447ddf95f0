// Outgoing: the answers of one turn on one connection, coalesced into one send.
//
// Owned by a Connection, lent by the reactor's pool, used on the reactor's thread only. Heads and
// small bodies are copied into `bytes`, one after the other, so that sixteen pipelined answers
// become one contiguous part and one send(2); large bodies go by reference and stay pinned until
// the transport says SENT. It never grows: what does not fit waits for the next Outgoing.
#pragma once

#include "cache/body.h"
#include "src/base/assert.h"
#include "src/base/inplace_vector.h"
#include "src/files/file_reader.h"
#include "src/transport/transport.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace penstock {

class Outgoing {
 public:
  static constexpr size_t BYTES_MAX = 32 * 1024;
  static constexpr size_t PARTS_MAX = Transport::SEND_PARTS_MAX;
  // Bodies up to this size are copied: below it a memcpy costs less than a second iovec and a pin
  // (perf/README.md has the measurement).
  static constexpr size_t COPY_MAX = 8 * 1024;

  Outgoing() {}  // NOLINT: not defaulted, so that taking one from the pool does not zero 32 KiB
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;
  ~Outgoing() { release(); }

  // Brings near what is read of it when it is given back, and written when it is next filled with a small answer.
  void prefetch() const {
    __builtin_prefetch(this);
    __builtin_prefetch(&parts_);
    __builtin_prefetch(&pins_);
    for (size_t at = 0; at < 256; at += 64) __builtin_prefetch(bytes_ + at, 1);
  }

  [[nodiscard]] bool empty() const { return parts_.empty(); }
  [[nodiscard]] size_t room() const { return BYTES_MAX - used_; }
  // True if `bytes` more copied bytes and `parts` more parts by reference surely fit.
  [[nodiscard]] bool fits(size_t bytes, size_t parts) const {
    return bytes <= room() && parts_.size() + 2 * parts + 1 <= PARTS_MAX;
  }

  // Room for up to `size` copied bytes; what was really written is then given to commit().
  // REQUIRES: fits(size, 0).
  [[nodiscard]] std::span<char> reserve(size_t size) { return {bytes_ + used_, size}; }
  void commit(size_t size) {
    ASSERT(size <= room());
    if (size == 0) return;
    char* at = bytes_ + used_;
    if (tail_is_bytes_) {
      parts_.back().size += size;  // contiguous with the last part: no new one
    } else {
      add(SendPart::memory(at, size));
      tail_is_bytes_ = true;
    }
    used_ += size;
  }

  // REQUIRES: fits(text.size(), 0).
  void copy(std::string_view text) {
    ASSERT(text.size() <= room());
    if (text.empty()) return;
    std::memcpy(bytes_ + used_, text.data(), text.size());
    commit(text.size());
  }

  // [offset, offset+size) of `body`, by reference; the pin is released with this Outgoing.
  // A body in a file of its own goes as a file part, so that no byte passes through user space; unless `encrypted`:
  // then as memory, so that the cipher reads it where it lies. REQUIRES: fits(0, 1), the range lies within the body.
  void refer(const Body& body, uint64_t offset, uint64_t size, bool encrypted);

  // [offset, offset+size) of a file that the caller keeps open until SENT or FAILED.
  void refer_file(int fd, uint64_t offset, uint64_t size, bool cold) { add(SendPart::file(fd, offset, size, cold)); }

  // A file part's descriptor outlives its exchange: closed through `reader` with this Outgoing.
  void keep_open(FileReader& reader, int fd) {
    reader_ = &reader;
    kept_fd_ = fd;
  }

  [[nodiscard]] std::span<const SendPart> parts() const { return parts_.values(); }

 private:
  void add(const SendPart& part) {
    parts_.push_back(part);
    tail_is_bytes_ = false;
  }
  void release() {
    for (const Body* body : pins_.values()) body->unpin();
    pins_.clear();
    if (kept_fd_ >= 0) reader_->close(kept_fd_);
  }

  size_t used_ = 0;
  bool tail_is_bytes_ = false;  // the last part lies in bytes_ and ends at used_
  int kept_fd_ = -1;
  FileReader* reader_ = nullptr;
  InplaceVector<SendPart, PARTS_MAX> parts_;
  InplaceVector<const Body*, PARTS_MAX> pins_;
  char bytes_[BYTES_MAX];
};

}  // namespace penstock
