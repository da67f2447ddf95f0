#include "tests/sandbox/try.h"

#include "pool/sandbox/identity.h"

#include <csignal>
#include <ostream>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock::test {
namespace {

constexpr int EXIT_NOT_ENTERED = 255;
constexpr int EXIT_DID = 0;

}  // namespace

Outcome try_in_sandbox(const SandboxProfile& profile, const std::function<int()>& action) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    const auto report = enter_sandbox(profile);
    if (!report) {
      [[maybe_unused]] const ssize_t n = ::write(ends[1], report.error().message.data(), report.error().message.size());
      ::_exit(EXIT_NOT_ENTERED);
    }
    const int error = action();
    ::_exit(error == 0 ? EXIT_DID : error & 0x7f);
  }
  ::close(ends[1]);
  Outcome outcome;
  char text[512];
  const ssize_t n = ::read(ends[0], text, sizeof text);
  if (n > 0) outcome.message.assign(text, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return outcome;
  if (WIFSIGNALED(status)) {
    outcome.kind = Outcome::Kind::KILLED;
    outcome.detail = WTERMSIG(status);
  } else if (WEXITSTATUS(status) == EXIT_DID) {
    outcome.kind = Outcome::Kind::DID;
  } else if (WEXITSTATUS(status) != EXIT_NOT_ENTERED) {
    outcome.kind = Outcome::Kind::REFUSED;
    outcome.detail = WEXITSTATUS(status);
  }
  return outcome;
}

SandboxProfile role_profile(SyscallProfile syscalls) {
  SandboxProfile profile;
  profile.syscalls = syscalls;
  if (::geteuid() == 0) {
    const auto identity = resolve_identity("65117", "server");
    if (identity) profile.identity = identity->ids;
  }
  return profile;
}

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  switch (outcome.kind) {
    case Outcome::Kind::DID:
      return out << "could do it";
    case Outcome::Kind::REFUSED:
      return out << "refused with errno " << outcome.detail;
    case Outcome::Kind::KILLED:
      return out << "killed by signal " << outcome.detail;
    case Outcome::Kind::NOT_ENTERED:
      return out << "sandbox not entered: " << outcome.message;
  }
  return out;
}

}  // namespace penstock::test
