// FileWorker: the threads that do what would block. ThreadFileReader: a FileReader over them alone.
//
// One FileWorker per server, shared by the readers of all reactors; jobs wait in one bounded queue.
// Of ThreadFileReader: what is in memory is done inside submit(), the rest by the worker.
#pragma once

#include "src/base/unique_fd.h"
#include "src/files/file_reader.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace penstock {

// Where a worker puts what it finished for one reader: the reader's half belongs to the reactor,
// the other to any worker thread.
class FileCompletionQueue {
 public:
  FileCompletionQueue();  // makes the eventfd; without one (descriptor limit) it asserts: a start failure
  // Worker side: publishes and wakes.
  void push(const FileCompletion& completion);
  // Reader side.
  [[nodiscard]] size_t take(std::span<FileCompletion> out);
  void wait();  // until take() would give something
  [[nodiscard]] int wake_fd() const { return wake_.get(); }

 private:
  UniqueFd wake_;
  std::mutex mutex_;
  std::condition_variable filled_;
  std::vector<FileCompletion> done_;
  std::atomic<bool> any_{false};  // so that an idle take() needs no lock; set after done_, under the mutex
};

class FileWorker {
 public:
  explicit FileWorker(uint32_t jobs_max = 1024) : jobs_max_(jobs_max) {}
  FileWorker(const FileWorker&) = delete;
  FileWorker& operator=(const FileWorker&) = delete;
  ~FileWorker();  // REQUIRES: no reader is left

  // Makes the threads; jobs handed in before wait for it. Once. Apart from the constructor, because a role enters
  // its sandbox after it has made its parts and before it has threads.
  void start(uint32_t threads = 2);

  // False at the bound. What `op` names, and `to`, must stay until the completion. Any thread.
  [[nodiscard]] bool submit(const FileOp& op, uint64_t token, FileCompletionQueue& to);

 private:
  struct Job {
    FileOp op;
    uint64_t token;
    FileCompletionQueue* to;
  };
  void run();

  const uint32_t jobs_max_;
  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// The part of an operation that needs no disk. True: `completion` is filled.
[[nodiscard]] bool do_file_op_inline(const FileOp& op, FileCompletion& completion);
// The whole of it, waiting as long as it takes.
[[nodiscard]] FileCompletion do_file_op_blocking(const FileOp& op);

class ThreadFileReader final : public FileReader {
 public:
  // `inline_first` false: everything goes to the worker, for tests of just that.
  explicit ThreadFileReader(FileWorker& worker, bool inline_first = true)
      : worker_(worker), inline_first_(inline_first) {}
  ThreadFileReader(const ThreadFileReader&) = delete;
  ThreadFileReader& operator=(const ThreadFileReader&) = delete;
  ~ThreadFileReader() override;

  [[nodiscard]] const char* name() const override { return "threads"; }
  [[nodiscard]] bool submit(const FileOp& op, uint64_t token) override;
  [[nodiscard]] size_t poll(std::span<FileCompletion> out) override;
  [[nodiscard]] int wake_fd() const override { return late_.wake_fd(); }
  [[nodiscard]] int stat(int fd, FileInfo& info) override { return read_file_info(fd, info); }
  void close(int fd) override;
  [[nodiscard]] const FileReaderCounters& counters() const override { return counters_; }

 private:
  static constexpr uint32_t OFFLOADED_MAX = 256;

  FileWorker& worker_;
  const bool inline_first_;
  FileCompletionQueue late_;
  std::deque<FileCompletion> now_;  // done inside submit()
  uint32_t offloaded_ = 0;
  FileReaderCounters counters_;
};

}  // namespace penstock
