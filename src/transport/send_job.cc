#include "src/transport/send_job.h"

#include "src/base/assert.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <linux/tls.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

// Invariants: next_ ≤ parts_.size(); part_sent_ < size of the part next_ names; pipe_bytes_ > 0 only while
// that part is a cold file part, and those bytes are its next ones.

namespace penstock {

namespace {

// cachestat(2), Linux 6.5: how many pages of a file's range are in the page cache.
constexpr long SYSCALL_CACHESTAT = 451;
struct CachestatRange {
  uint64_t offset;
  uint64_t size;
};
struct Cachestat {
  uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

bool is_resident(int fd, uint64_t offset, uint64_t bytes) {
  constexpr uint64_t PAGE = 4'096;
  const uint64_t pages = (offset + bytes + PAGE - 1) / PAGE - offset / PAGE;
  CachestatRange range{offset, bytes};
  Cachestat answer{};
  return ::syscall(SYSCALL_CACHESTAT, fd, &range, &answer, 0) == 0 && answer.cached >= pages;
}

}  // namespace

void ignore_broken_pipe_signal() {
  struct sigaction current {};
  if (::sigaction(SIGPIPE, nullptr, &current) != 0 || current.sa_handler != SIG_DFL) return;
  struct sigaction ignored {};
  ignored.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignored, nullptr);
}

SendJob::SendJob(std::span<const SendPart> parts, bool more) : parts_(parts), more_(more) {
  ASSERT(!parts.empty());
  for (const SendPart& part : parts) {
    ASSERT(part.size > 0);
    has_files_ = has_files_ || part.fd >= 0;
  }
}

uint64_t SendJob::bytes_left() const {
  uint64_t bytes = 0;
  for (uint32_t i = next_; i < parts_.size(); ++i) bytes += parts_[i].size;
  return bytes - part_sent_;
}

void SendJob::consume(uint64_t bytes) {
  while (bytes > 0) {
    ASSERT(next_ < parts_.size());
    const uint64_t left = parts_[next_].size - part_sent_;
    if (bytes < left) {
      part_sent_ += bytes;
      return;
    }
    bytes -= left;
    part_sent_ = 0;
    warm_until_ = forced_until_ = 0;
    ++next_;
  }
}

// The memory parts from next_ up to a file part or the end.
size_t SendJob::fill_vectors() {
  size_t count = 0;
  uint64_t skip = part_sent_;
  asked_ = 0;
  for (uint32_t i = next_; i < parts_.size() && parts_[i].fd < 0; ++i) {
    // sendmsg takes at most 2 GiB; what lies beyond comes with the next call.
    if (asked_ + parts_[i].size - skip > (uint64_t{1} << 30) && count > 0) break;
    const uint64_t size = std::min(parts_[i].size - skip, uint64_t{1} << 30);
    vectors_[count].iov_base = const_cast<char*>(static_cast<const char*>(parts_[i].data) + skip);
    vectors_[count].iov_len = size;
    asked_ += size;
    skip = 0;
    ++count;
  }
  return count;
}

msghdr* SendJob::message() {
  message_ = {};
  message_.msg_iov = vectors_;
  message_.msg_iovlen = fill_vectors();
  if (record_type_ != 0) {
    message_.msg_control = control_;
    message_.msg_controllen = CMSG_LEN(1);
    cmsghdr* const header = CMSG_FIRSTHDR(&message_);
    header->cmsg_level = SOL_TLS;
    header->cmsg_type = TLS_SET_RECORD_TYPE;
    header->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(header) = record_type_;
  }
  return &message_;
}

SendJob::Result SendJob::push(int fd, uint64_t budget, uint64_t& sent, TransportCounters& counters) {
  while (next_ < parts_.size()) {
    if (budget == 0) return Result::SHARE_SPENT;
    const bool is_file = parts_[next_].fd >= 0;
    if (is_file && pipe_bytes_ == 0 && is_cold()) return Result::COLD;
    const int64_t moved = !is_file          ? push_memory(fd, counters)
                          : pipe_bytes_ > 0 ? push_pipe(fd, counters)
                                            : push_file(fd, budget, counters);
    ++counters.syscalls;
    if (moved < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        ++counters.sends_partial;
        return Result::FULL;
      }
      error_ = errno;
      return Result::ERROR;
    }
    if (moved == 0) {
      error_ = ENODATA;  // the file was cut while it was being sent: the promised length cannot be kept
      return Result::ERROR;
    }
    const uint64_t bytes = static_cast<uint64_t>(moved);
    sent += bytes;
    counters.bytes_sent += bytes;
    (is_file ? counters.bytes_from_files : counters.bytes_copied) += bytes;
    budget -= std::min(budget, bytes);
    consume(bytes);
    // Memory moved in part: the socket is full, no need to ask. Of a file that may also mean that the file has been
    // cut, and then no event would ever come: the next call tells, by 0 or EAGAIN.
    if (bytes < asked_ && !is_file) {
      ++counters.sends_partial;
      return Result::FULL;
    }
  }
  return Result::DONE;
}

int64_t SendJob::push_memory(int fd, TransportCounters&) {
  const msghdr* header = message();
  const bool tail_follows = more_ || next_ + header->msg_iovlen < parts_.size();
  return ::sendmsg(fd, header, MSG_NOSIGNAL | MSG_DONTWAIT | (tail_follows ? MSG_MORE : 0));
}

int64_t SendJob::push_file(int fd, uint64_t budget, TransportCounters&) {
  const SendPart& part = parts_[next_];
  off_t offset = static_cast<off_t>(part.offset + part_sent_);
  asked_ = std::min(part.size - part_sent_, budget);
  if (part.cold) asked_ = std::min(asked_, std::max(warm_until_, forced_until_) - static_cast<uint64_t>(offset));
  return ::sendfile(fd, part.fd, &offset, asked_);
}

int64_t SendJob::push_pipe(int fd, TransportCounters&) {
  const bool tail_follows = more_ || next_ + 1 < parts_.size() || part_sent_ + pipe_bytes_ < parts_[next_].size;
  asked_ = pipe_bytes_;
  const ssize_t moved = ::splice(pipe_out_.get(), nullptr, fd, nullptr, pipe_bytes_,
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (tail_follows ? SPLICE_F_MORE : 0U));
  if (moved > 0) pipe_bytes_ -= static_cast<uint64_t>(moved);
  return moved;
}

bool SendJob::is_cold() {
  const SendPart& part = parts_[next_];
  if (!part.cold) return false;
  const uint64_t offset = cold_offset();
  if (offset < warm_until_ || offset < forced_until_) return false;
  if (!is_resident(part.fd, offset, cold_bytes())) return true;
  warm_until_ = offset + cold_bytes();
  return false;
}

uint32_t SendJob::cold_bytes() const {
  return static_cast<uint32_t>(std::min<uint64_t>(parts_[next_].size - part_sent_, COLD_WINDOW_BYTES));
}

Status SendJob::open_pipe() {
  if (pipe_in_.valid()) return {};
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return fail_errno("pipe for a cold file");
  pipe_out_.reset(ends[0]);
  pipe_in_.reset(ends[1]);
  // The default, 64 KiB, is what an unprivileged user gets once its pipes hold too much: slower, not wrong.
  (void)::fcntl(ends[1], F_SETPIPE_SZ, COLD_WINDOW_BYTES);
  return {};
}

}  // namespace penstock
