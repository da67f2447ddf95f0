// ChildProcess: a program that a runtime starts: spawned, signalled with its process group, waited for.
//
// Spawned without copying this process's memory (posix_spawn: clone with CLONE_VM and CLONE_VFORK), in a process group
// of its own, with every signal at its default and three descriptors open: nothing of the worker's. It has the worker's
// identity and sandbox from its first instruction on. It stays a zombie until reap(), so that neither its number nor
// that of its group can become another's while they are signalled.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock {

struct ChildExit {
  int code = 0;
  int signal = 0;                          // that killed it, or 0
  [[nodiscard]] std::string text() const;  // "ended with code 1", "was killed by SIGSEGV"
};

struct ChildCommand {
  std::string program;             // a path; no PATH is searched
  std::vector<std::string> words;  // argv
  std::vector<char*> environment;  // with a null at the end
  std::string directory;           // to run in; empty: this one
  int in = -1;                     // -1: /dev/null
  int out = -1;
  int err = -1;
  uint32_t cpu_seconds = 0;  // of processor time, for each of its processes, before SIGXCPU comes; 0: as this process
};

class ChildProcess {
 public:
  // Error: "start PROGRAM: Permission denied", with the errno of exec, too.
  [[nodiscard]] static Result<ChildProcess> spawn(const ChildCommand& command);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();  // kills its group and waits, if reap() did not

  [[nodiscard]] int pidfd() const { return pidfd_.get(); }  // readable once it has ended
  [[nodiscard]] pid_t pid() const { return pid_; }
  void signal_group(int number);
  // How it ended, if it has; it stays a zombie.
  [[nodiscard]] std::optional<ChildExit> poll();
  // Kills what is left of its group and takes it off the process table. REQUIRES: poll() gave its end.
  void reap();

 private:
  ChildProcess() = default;
  pid_t pid_ = -1;  // and of the group
  UniqueFd pidfd_;
};

}  // namespace penstock
