// Runs one forbidden (or needed) thing inside a sandbox, in a child process, and says what became of it.
#pragma once

#include "pool/sandbox/sandbox.h"

#include <cerrno>
#include <functional>
#include <ostream>
#include <string>

namespace penstock::test {

struct Outcome {
  enum class Kind { DID, REFUSED, KILLED, NOT_ENTERED } kind = Kind::NOT_ENTERED;
  int detail = 0;       // REFUSED: errno; KILLED: the signal
  std::string message;  // NOT_ENTERED: why
};

// What a system call that gave `rc` comes to, for an action.
inline int result_of(long rc) { return rc < 0 ? errno : 0; }

// The action returns 0 when it could do the thing, else errno.
[[nodiscard]] Outcome try_in_sandbox(const SandboxProfile& profile, const std::function<int()>& action);

// The profile of a role for this test run: its own identity when the test runs as root.
[[nodiscard]] SandboxProfile role_profile(SyscallProfile syscalls);

std::ostream& operator<<(std::ostream& out, const Outcome& outcome);

}  // namespace penstock::test
