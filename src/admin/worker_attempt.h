// WorkerAttempt: what a waiting call of a worker comes to: who asks, for what, and whether its sandbox has it.
//
// Used by the supervisor for workers and for `penstock alarm test` alike. Judges only; what is answered is the
// caller's. See pool/sandbox/syscall_listener.h for what may be believed of what was read.
#pragma once

#include "pool/sandbox/program_list.h"
#include "pool/sandbox/syscall_listener.h"
#include "pool/sandbox/worker_sandbox.h"
#include "src/admin/alarm_book.h"

#include <optional>
#include <string>
#include <vector>

namespace penstock {

struct WorkerAttempt {
  enum class Verdict : uint8_t {
    PROGRAM,     // a program that the worker may start, or that Landlock must judge, as it could not be read
    NO_PROGRAM,  // one that is not there: `error` is what execve says to it
    DENIED,      // a program that is not on the list, or a forbidden call
  } verdict = Verdict::DENIED;
  AlarmKind kind = AlarmKind::CALL;
  bool landlock_refuses = false;  // DENIED: going on with the call is safe, and refused
  bool changed = false;           // DENIED: a listed program that is not what it was (ProgramHashes)
  CallOrigin origin;
  int error = 0;
  std::vector<std::string> files;  // PROGRAM: it and its interpreters
  std::string what;                // full path of the program, else the name of the call
  std::string detail;              // how it was asked for, where that says more
  RequestHint hint;                // of a program
};

// Nothing: the process has gone meanwhile.
[[nodiscard]] std::optional<WorkerAttempt> look_at_call(const SyscallListener& listener, const WaitingCall& call,
                                                        const ProgramList& list, WorkerSyscalls profile);

}  // namespace penstock
