// HelperProcess: a program of the operator's that the supervisor runs: orphan.action, alarm.exec.
//
// It gets stdout from /dev/null, stderr as the supervisor's, no other descriptor of ours, a process group of its own,
// every signal at its default, and only the variables that it is given. Watched by pidfd; never waited for.
#pragma once

#include "src/admin/role_process.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock {

// The search path of such programs.
inline constexpr const char* HELPER_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

class HelperProcess {
 public:
  // `words`: its arguments, the first included. `input`: its stdin; -1: /dev/null.
  [[nodiscard]] static Result<HelperProcess> start(const std::string& program, std::vector<std::string> words,
                                                   std::vector<std::string> variables, int input);
  HelperProcess(HelperProcess&&) = default;
  HelperProcess& operator=(HelperProcess&&) = default;
  ~HelperProcess() = default;  // neither kills nor waits

  [[nodiscard]] std::optional<RoleExit> reap();  // once it has ended; never blocks
  void kill();                                   // it and its group; its end is still to be reaped
  RoleExit kill_and_wait();                      // blocks for as long as the kernel takes
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }  // readable once it has ended

 private:
  HelperProcess() = default;
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  std::optional<RoleExit> exit_;
};

}  // namespace penstock
