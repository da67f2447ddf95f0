#include "src/files/thread_file_reader.h"

#include "src/base/assert.h"
#include "src/base/doorbell.h"
#include "src/files/path_walk.h"
#include "src/files/read_directory.h"

#include <algorithm>
#include <cerrno>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace penstock {

FileCompletionQueue::FileCompletionQueue() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { ASSERT(wake_.valid()); }

void FileCompletionQueue::push(const FileCompletion& completion) {
  // To the end: once it has taken the completion, the reader may destroy the queue.
  const std::lock_guard lock(mutex_);
  done_.push_back(completion);
  any_.store(true, std::memory_order_release);
  filled_.notify_one();
  (void)ring_bell(wake_.get());
}

size_t FileCompletionQueue::take(std::span<FileCompletion> out) {
  if (!any_.load(std::memory_order_acquire)) return 0;
  const std::lock_guard lock(mutex_);
  const size_t count = std::min(out.size(), done_.size());
  std::copy_n(done_.begin(), count, out.begin());
  done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(count));
  any_.store(!done_.empty(), std::memory_order_release);
  return count;
}

void FileCompletionQueue::wait() {
  std::unique_lock lock(mutex_);
  filled_.wait(lock, [this] { return !done_.empty(); });
}

void FileWorker::start(uint32_t threads) {
  threads_.reserve(threads);
  for (uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

FileWorker::~FileWorker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  added_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool FileWorker::submit(const FileOp& op, uint64_t token, FileCompletionQueue& to) {
  {
    const std::lock_guard lock(mutex_);
    if (jobs_.size() >= jobs_max_) return false;
    jobs_.push_back({op, token, &to});
  }
  added_.notify_one();
  return true;
}

void FileWorker::run() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      added_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = jobs_.front();
      jobs_.pop_front();
    }
    FileCompletion completion = do_file_op_blocking(job.op);
    completion.token = job.token;
    job.to->push(completion);
  }
}

namespace {

int64_t do_open(const FileOp& op, bool cached_only, FileCompletion& done) {
  return open_served(op.root, op.path, op.symlinks, cached_only, done.info, done.link_met,
                     op.tell_directory ? &done.directory : nullptr);
}

// A file system in memory does not know RWF_NOWAIT: its reads never wait.
bool in_memory(int fd) {
  static constexpr uint32_t TMPFS = 0x01021994;
  struct statfs fs {};
  return ::fstatfs(fd, &fs) == 0 && static_cast<uint32_t>(fs.f_type) == TMPFS;
}

bool read_inline(const FileOp& op, int64_t& result) {
  const iovec part{op.into.data(), op.into.size()};
  ssize_t count = ::preadv2(op.fd, &part, 1, static_cast<off_t>(op.offset), RWF_NOWAIT);
  if (count < 0 && errno == EOPNOTSUPP && in_memory(op.fd)) {
    count = ::pread(op.fd, op.into.data(), op.into.size(), static_cast<off_t>(op.offset));
  }
  result = count >= 0 ? count : -errno;
  return count >= 0 || (errno != EAGAIN && errno != EOPNOTSUPP && errno != EINTR && errno != ENOSYS);
}

}  // namespace

bool do_file_op_inline(const FileOp& op, FileCompletion& completion) {
  if (op.kind == FileOpKind::OPEN) {
    completion.result = do_open(op, /*cached_only=*/true, completion);
    // EINVAL: a kernel without RESOLVE_CACHED.
    return completion.result != -EAGAIN && completion.result != -EINVAL;
  }
  return op.kind == FileOpKind::READ && read_inline(op, completion.result);
}

FileCompletion do_file_op_blocking(const FileOp& op) {
  FileCompletion done;
  switch (op.kind) {
    case FileOpKind::OPEN:
      done.result = do_open(op, /*cached_only=*/false, done);
      break;
    case FileOpKind::READ: {
      ssize_t count = 0;
      do {
        count = ::pread(op.fd, op.into.data(), op.into.size(), static_cast<off_t>(op.offset));
      } while (count < 0 && errno == EINTR);
      done.result = count >= 0 ? count : -errno;
      break;
    }
    case FileOpKind::LIST:
      done.result = -read_directory(op.root, op.path, op.symlinks, *op.list);
      break;
    case FileOpKind::SUFFIXES:
      done.result = read_suffixes(op.root, op.path, op.symlinks, done.directory);
      break;
  }
  return done;
}

ThreadFileReader::~ThreadFileReader() {
  // The worker writes into memory of the caller and into late_: wait for it.
  FileCompletion completion;
  while (offloaded_ > 0) {
    late_.wait();
    (void)poll({&completion, 1});
  }
}

bool ThreadFileReader::submit(const FileOp& op, uint64_t token) {
  FileCompletion completion;
  completion.token = token;
  if (inline_first_ && do_file_op_inline(op, completion)) {
    ++counters_.inline_done;
    now_.push_back(completion);
    return true;
  }
  if (offloaded_ >= OFFLOADED_MAX || !worker_.submit(op, token, late_)) return false;
  ++counters_.offloaded;
  ++offloaded_;
  return true;
}

size_t ThreadFileReader::poll(std::span<FileCompletion> out) {
  size_t count = 0;
  for (; count < out.size() && !now_.empty(); ++count) {
    out[count] = now_.front();
    now_.pop_front();
  }
  const size_t late = late_.take(out.subspan(count));
  offloaded_ -= static_cast<uint32_t>(late);
  count += late;
  for (const FileCompletion& completion : out.first(count)) counters_.links_walked += completion.link_met ? 1 : 0;
  return count;
}

void ThreadFileReader::close(int fd) { ::close(fd); }

}  // namespace penstock
