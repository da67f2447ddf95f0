#include "src/transport/engine/file_chunks.h"

#include "src/base/reserve.h"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

namespace penstock {
namespace {

constexpr uint32_t READS_MAX = 256;  // under way at a time; beyond: asked again later

}  // namespace

FileChunks::FileChunks(uint32_t count) : memory_bytes_(size_t{count} * BYTES) {
  memory_ = static_cast<char*>(reserve_memory(memory_bytes_));
  free_.reserve(count);
  for (uint32_t i = count; i > 0; --i) free_.push_back(i - 1);
  Result<std::unique_ptr<Ring>> ring = Ring::open({.sq_entries = READS_MAX, .cq_entries = 2 * READS_MAX});
  if (!ring || !(*ring)->supports(IORING_OP_READ)) return;
  constexpr std::array<uint8_t, 1> OPCODES = {IORING_OP_READ};
  if (!(*ring)->restrict_to(OPCODES, IOSQE_ASYNC)) return;
  ring_ = std::move(*ring);
}

FileChunks::~FileChunks() {
  ring_.reset();  // ends what is under way
  ::munmap(memory_, memory_bytes_);
}

void FileChunks::start() {
  if (ring_ != nullptr && !ring_->start()) ring_.reset();
}

uint32_t FileChunks::take() {
  if (free_.empty()) return NONE;
  const uint32_t chunk = free_.back();
  free_.pop_back();
  return chunk;
}

void FileChunks::give(uint32_t chunk) { free_.push_back(chunk); }

int FileChunks::read(uint32_t chunk, int fd, uint64_t offset, uint32_t bytes, bool resident) {
  if (resident) return read_now(chunk, fd, offset, bytes);
  const iovec room = {memory_ + size_t{chunk} * BYTES, bytes};
  const ssize_t got = ::preadv2(fd, &room, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  if (got >= 0) return static_cast<int>(got);
  if (errno != EAGAIN && errno != EOPNOTSUPP) return -errno;
  if (ring_ == nullptr || under_way_ == READS_MAX) {
    (void)::posix_fadvise(fd, static_cast<off_t>(offset), bytes, POSIX_FADV_WILLNEED);
    return -EAGAIN;
  }
  io_uring_sqe* sqe = ring_->sqe();
  sqe->opcode = IORING_OP_READ;
  sqe->flags = IOSQE_ASYNC;
  sqe->fd = fd;
  sqe->addr = reinterpret_cast<uint64_t>(room.iov_base);
  sqe->len = bytes;
  sqe->off = offset;
  sqe->user_data = chunk;
  ++under_way_;
  (void)ring_->enter(0, {});  // what is not taken now goes with the next
  return -EINPROGRESS;
}

int FileChunks::read_now(uint32_t chunk, int fd, uint64_t offset, uint32_t bytes) {
  const ssize_t got = ::pread(fd, memory_ + size_t{chunk} * BYTES, bytes, static_cast<off_t>(offset));
  return got < 0 ? -errno : static_cast<int>(got);
}

size_t FileChunks::completed(std::span<Done> out) {
  if (under_way_ == 0) return 0;
  if (ring_->ready() == 0) (void)ring_->enter(0, {});
  const size_t count = std::min<size_t>(ring_->ready(), out.size());
  for (uint32_t i = 0; i < count; ++i) {
    const Completion& done = ring_->peek(i);
    out[i] = {static_cast<uint32_t>(done.user_data), done.res};
  }
  ring_->advance(static_cast<uint32_t>(count));
  under_way_ -= static_cast<uint32_t>(count);
  return count;
}

}  // namespace penstock
