// CgroupTree: the control groups of this instance: one for each pool that has a memory_max or a cpu_limit.
//
// Made by the supervisor beneath the group that it runs in, as penstock-PID/POOL; version 2 where it has the
// controllers, else the separate hierarchies of version 1. What the machine does not offer is told once, with the
// reason, and the pool runs without it. Groups that an instance left behind when it was killed are removed by the next.
//
// Used by the supervisor's one thread. File system calls on cgroupfs, which do not block.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock {

struct CgroupLimits {
  uint64_t memory_max = 0;   // bytes; 0: no limit
  uint32_t cpu_percent = 0;  // of one core; 0: no limit
  [[nodiscard]] bool any() const { return memory_max != 0 || cpu_percent != 0; }
  bool operator==(const CgroupLimits&) const = default;
};

class CgroupTree {
 public:
  // Looks for a place and makes nothing yet. `proc`: where /proc is; tests differ.
  explicit CgroupTree(std::string proc = "/proc");
  ~CgroupTree();  // removes what is empty
  CgroupTree(const CgroupTree&) = delete;
  CgroupTree& operator=(const CgroupTree&) = delete;

  // Makes the pool's groups, or changes their limits. Error: a limit that cannot be kept, and why; the others hold.
  [[nodiscard]] Status set(const std::string& pool, const CgroupLimits& limits);
  // Puts a process, and all that it will start, into the pool's groups. A pool without groups: nothing to do.
  [[nodiscard]] Status add(const std::string& pool, pid_t pid);
  // Processes of the pool that the kernel has killed for want of memory, ever.
  [[nodiscard]] uint64_t memory_kills(const std::string& pool) const;
  void remove(const std::string& pool);  // once its processes have ended

  // "cgroup v2 at /sys/fs/cgroup/x", "cgroup v1", or why there is none: for status.
  [[nodiscard]] std::string text() const;

 private:
  enum class Version : uint8_t { NONE, V1, V2 };
  struct Group {
    std::string memory;  // directory; "" where there is none. Version 2: both are the same
    std::string cpu;
  };
  void find_places(const std::string& proc);
  [[nodiscard]] Status prepare();
  [[nodiscard]] Status delegate();
  void sweep(const std::string& base) const;

  Version version_ = Version::NONE;
  std::string memory_base_, cpu_base_;  // where our own directory goes
  std::string name_;                    // "penstock-PID"
  std::string why_;                     // there is none
  bool prepared_ = false;
  std::map<std::string, Group> groups_;
};

}  // namespace penstock
