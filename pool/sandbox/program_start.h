// ProgramStart: which program a waiting execve means, and who asks. Read by the supervisor while the caller waits.
//
// Everything here was in the caller's hands when it was read and may have changed since (syscall_listener.h): it is
// good for refusing, for books and for alarms, never for granting. Nothing is opened that could block or have an
// effect: paths are resolved inside the caller's root as O_PATH, and only regular files are looked into.
#pragma once

#include "pool/sandbox/syscall_listener.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace penstock {

struct CallOrigin {
  pid_t process = -1;  // of the waiting thread
  pid_t parent = -1;
  uid_t uid = 0;  // effective
};

struct ProgramFile {
  std::string path;  // absolute, links resolved
  uint64_t device = 0, inode = 0;
};

struct ProgramStart {
  bool readable = false;                  // false: the caller's memory or root could not be looked at
  int error = 0;                          // what execve would answer by itself: ENOENT, EACCES for a directory, …
  std::string asked;                      // the path as it was given, at most PATH_MAX bytes; raw
  std::optional<ProgramFile> file;        // the program, where error is 0
  std::vector<ProgramFile> interpreters;  // of a script: "#!", and the interpreter's if that is one, …
};

// /proc/PID/status, proc(5): the three lines. Nothing: it has gone. parse_origin() is the pure part.
[[nodiscard]] std::optional<CallOrigin> read_origin(pid_t thread);
[[nodiscard]] std::optional<CallOrigin> parse_origin(std::string_view status);

// REQUIRES: starts_program(call).
[[nodiscard]] ProgramStart read_program_start(const WaitingCall& call);

// The request that a program serves, as CGI (RFC 3875) tells it to the program: from the environment that it is given.
// The caller's word, so a hint for books alone. All empty where it is not told.
struct RequestHint {
  std::string address, port, target;
};
// REQUIRES: starts_program(call).
[[nodiscard]] RequestHint read_request_hint(const WaitingCall& call);

// The interpreter that a file's first bytes name (execve(2), "Interpreter scripts"); "" where they name none.
[[nodiscard]] std::string_view script_interpreter(std::string_view first_bytes);

}  // namespace penstock
