// FileChunks: the bounded memory through which file parts of sends go out where the engine needs bytes that stay.
//
// Owned by one EngineTransport, used by its thread. A chunk is taken, filled from a file, lent to the engine until the
// peer has acknowledged it, and given back. Pages that are in memory are read at once; what must come from a disk is
// read by a small io_uring, whose completions wake the owner, so that the thread never waits for a disk. Where
// io_uring is refused, the kernel is told to read ahead and asked again later.
#pragma once

#include "src/base/handle.h"
#include "src/base/result.h"
#include "src/uring/ring.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace penstock {

class FileChunks {
 public:
  static constexpr uint32_t BYTES = 64 * 1'024;
  static constexpr uint32_t NONE = UINT32_MAX;

  // Memory is touched only as it is used.
  explicit FileChunks(uint32_t count);
  ~FileChunks();
  FileChunks(const FileChunks&) = delete;
  FileChunks& operator=(const FileChunks&) = delete;

  // NONE when all are lent out.
  [[nodiscard]] uint32_t take();
  void give(uint32_t chunk);
  [[nodiscard]] uint32_t free_count() const { return static_cast<uint32_t>(free_.size()); }
  [[nodiscard]] const char* data(uint32_t chunk) const { return memory_ + size_t{chunk} * BYTES; }

  // Fills the chunk with up to `bytes` of the file. > 0: so many are there. 0: the file ends before. -EINPROGRESS: a
  // disk is being asked, completed() tells. -EAGAIN: try again in a moment (only without io_uring). Else -errno.
  [[nodiscard]] int read(uint32_t chunk, int fd, uint64_t offset, uint32_t bytes, bool resident);
  // -EAGAIN has been the answer long enough: reads it whatever it takes.
  [[nodiscard]] int read_now(uint32_t chunk, int fd, uint64_t offset, uint32_t bytes);

  struct Done {
    uint32_t chunk;
    int result;  // as of read()
  };
  // Reads that have ended; returns how many. A system call only while one is under way.
  [[nodiscard]] size_t completed(std::span<Done> out);
  [[nodiscard]] uint32_t under_way() const { return under_way_; }
  // Readable when completed() has something; -1: there is no ring.
  [[nodiscard]] int wake_fd() const { return ring_ == nullptr ? -1 : ring_->fd(); }
  // By the thread that owns it.
  void start();

 private:
  char* memory_ = nullptr;
  size_t memory_bytes_ = 0;
  std::vector<uint32_t> free_;
  std::unique_ptr<Ring> ring_;
  uint32_t under_way_ = 0;
};

}  // namespace penstock
