// MemoryReclaim: takes the resident memory of a worker back that is stopped, and of all that it has started, a share at
// a time: process_madvise(2) with MADV_PAGEOUT over what each process has mapped.
//
// What goes: pages of files that no other process has mapped, always; all other memory of its own where the machine has
// swap. What stays: what other processes have mapped as well, which would not come free; the worker's rings; and,
// without swap, what no file holds. Nothing is lost: what is needed again is read again.
//
// Not the kernel's cgroup memory.reclaim: a group holds a pool, whose other workers serve.
//
// Used by the supervisor's one thread. A step blocks as long as the kernel needs for at most PIECE_BYTES beyond its
// budget.
#pragma once

#include "src/base/clock.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock {

// A part of an address space.
struct MemoryRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

// What of /proc/PID/maps is to be taken back: neither what cannot be read nor what is no memory of the process alone.
[[nodiscard]] std::vector<MemoryRange> reclaimable_ranges(const std::string& maps);

class MemoryReclaim {
 public:
  static constexpr uint64_t PIECE_BYTES = uint64_t{4} << 20;

  // `pid`: a child of this process that is not reaped. `proc`: where /proc is; tests differ.
  explicit MemoryReclaim(pid_t pid, std::string proc = "/proc");

  // Goes on until all is asked for (true) or `budget` is used up. What a process refuses is passed over.
  [[nodiscard]] bool step(Clock& clock, Duration budget);
  // The first refusal, or "": "process_madvise: Operation not permitted".
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  [[nodiscard]] bool open_next();
  void take_piece();

  std::string proc_;
  std::vector<pid_t> processes_;  // to come, last first
  UniqueFd process_;              // the one under way
  std::vector<MemoryRange> ranges_;
  size_t range_ = 0;  // in ranges_
  std::string problem_;
};

}  // namespace penstock
