// SyscallListener: the supervisor's end of a worker's seccomp filter (seccomp_unotify(2)). A call that the filter does
// not allow, and every start of a program, waits here until it is answered: refused, or gone on with.
//
// Owned by the supervisor, used by its thread. Never blocks. A call whose process is killed meanwhile is forgotten.
// What a call points to lies in memory that the worker can change at any time, so:
// - refuse() is safe whatever was read: the kernel never looks at the arguments.
// - go_on() lets the kernel read them again. It grants nothing: what the process may do then is what Landlock, its
//   mounts and its user leave it, exactly as if nobody had looked. It must only be said of a call that the sandbox
//   holds without us: execve, which Landlock's execute rights decide. What was read serves books and alarms.
#pragma once

#include "src/base/unique_fd.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>

namespace penstock {

struct WaitingCall {
  uint64_t id = 0;
  pid_t thread = -1;  // in the caller's pid namespace
  int number = -1;
  uint32_t arch = 0;
  std::array<uint64_t, 6> arguments{};
};

class SyscallListener {
 public:
  SyscallListener() = default;
  explicit SyscallListener(UniqueFd fd) : fd_(std::move(fd)) {}

  [[nodiscard]] bool open() const { return fd_.valid(); }
  [[nodiscard]] int fd() const { return fd_.get(); }  // readable while a call waits; hangs up once no process is left
  void close() { fd_.reset(); }
  [[nodiscard]] bool hung_up() const;  // no process is left

  [[nodiscard]] std::optional<WaitingCall> next();
  // True while the thread is still in the call: only then is what was read of it true of it.
  [[nodiscard]] bool waits(const WaitingCall& call) const;
  void refuse(const WaitingCall& call, int error);  // an errno
  void go_on(const WaitingCall& call);

 private:
  UniqueFd fd_;
};

// "mount"; of a number that has no name, that: "call 1234".
[[nodiscard]] std::string syscall_name(const WaitingCall& call);
// Starts a program: execve or execveat.
[[nodiscard]] bool starts_program(const WaitingCall& call);

}  // namespace penstock
