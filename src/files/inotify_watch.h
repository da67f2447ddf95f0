// InotifyWatch: the FileWatch of Linux, one per server process.
//
// Reactors call watch(), write_state(), forget(); one thread of its own sits in run() and turns
// events into bumps. It uses no absolute path and no /proc: a directory is watched as "." after
// fchdir(2) to the very descriptor that the walk beneath the root opened. The current directory of
// the process therefore changes while watch() runs; nobody else in the process may use it.
//
// It needs no privilege but read permission on what it watches. System calls: inotify_init1,
// inotify_add_watch, inotify_rm_watch, fchdir, openat2, fstat, readlinkat, ppoll, read, close,
// sched_setattr, fstatfs.
#pragma once

#include "src/base/clock.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/files/file_watch.h"

#include <memory>

namespace penstock {

struct WatchOptions {
  uint32_t files_max = 65'536;  // requests watched at once; each costs about 1 KiB here and an inode in the kernel
  Duration reuse_after = seconds(10);  // at the bound, the oldest watch older than this makes room
};

struct WatchCounters {
  uint64_t watched = 0;  // requests watched now
  uint64_t inotify_watches = 0;
  uint64_t events = 0;
  uint64_t bumps = 0;
  uint64_t overflows = 0;
  uint64_t refused = 0;  // watch() that did not answer WATCHED
  uint64_t dropped = 0;  // watches given up to make room
};

class InotifyWatch final : public FileWatch {
 public:
  // `cells` and `clock` outlive it. Error: inotify is not to be had (then give the loader none).
  [[nodiscard]] static Result<std::unique_ptr<InotifyWatch>> create(ValidityTable& cells, Clock& clock,
                                                                    const WatchOptions& options);
  ~InotifyWatch() override;

  [[nodiscard]] WatchTicket watch(const WatchRequest& request) override;
  [[nodiscard]] WriteState write_state(Validity validity) override;
  void forget(Validity validity) override;

  // The watch thread's life; returns when `stop_fd` becomes readable. Asks the scheduler for short
  // slices, so that a bump is not late behind busy reactors.
  void run(int stop_fd);
  // One round of it, for tests: handles what is queued, waits up to `wait` for the first event.
  // Returns the events handled.
  size_t turn(Duration wait, int stop_fd = -1);

  // Bumps everything, as after an overflow (a root was exchanged, a clock jumped).
  void bump_all();

  [[nodiscard]] WatchCounters counters() const;

  struct State;  // inotify_watch.cc alone knows it

 private:
  explicit InotifyWatch(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace penstock
