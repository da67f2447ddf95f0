#include "pool/runtimes/gateway/child_process.h"

#include "src/base/assert.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

class Attributes {
 public:
  Attributes() {
    ::posix_spawnattr_init(&raw_);
    sigset_t all;
    sigset_t none;
    ::sigfillset(&all);
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigdefault(&raw_, &all);
    ::posix_spawnattr_setsigmask(&raw_, &none);
    ::posix_spawnattr_setpgroup(&raw_, 0);
    ::posix_spawnattr_setflags(&raw_, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  }
  ~Attributes() { ::posix_spawnattr_destroy(&raw_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  [[nodiscard]] const posix_spawnattr_t* get() const { return &raw_; }

 private:
  posix_spawnattr_t raw_{};
};

class Files {
 public:
  explicit Files(const ChildCommand& command) {
    ::posix_spawn_file_actions_init(&raw_);
    if (command.in >= 0) {
      ::posix_spawn_file_actions_adddup2(&raw_, command.in, STDIN_FILENO);
    } else {
      ::posix_spawn_file_actions_addopen(&raw_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    }
    ::posix_spawn_file_actions_adddup2(&raw_, command.out, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&raw_, command.err, STDERR_FILENO);
    ::posix_spawn_file_actions_addclosefrom_np(&raw_, STDERR_FILENO + 1);
    if (!command.directory.empty()) ::posix_spawn_file_actions_addchdir_np(&raw_, command.directory.c_str());
  }
  ~Files() { ::posix_spawn_file_actions_destroy(&raw_); }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;
  [[nodiscard]] const posix_spawn_file_actions_t* get() const { return &raw_; }

 private:
  posix_spawn_file_actions_t raw_{};
};

// While it lives, what this process starts gets the limit: posix_spawn cannot set one by itself. This process may be
// past it already, so the signal is ignored meanwhile. Only the soft limit changes, or there would be no way back.
class CpuLimit {
 public:
  explicit CpuLimit(uint32_t seconds) {
    if (seconds == 0 || ::getrlimit(RLIMIT_CPU, &before_) != 0) return;
    handler_ = ::signal(SIGXCPU, SIG_IGN);
    const rlimit limit{std::min<rlim_t>(seconds, before_.rlim_max), before_.rlim_max};
    is_set_ = ::setrlimit(RLIMIT_CPU, &limit) == 0;
    failed_ = is_set_ ? 0 : errno;
  }
  ~CpuLimit() {
    if (is_set_) (void)::setrlimit(RLIMIT_CPU, &before_);
    if (is_set_ || failed_ != 0) (void)::signal(SIGXCPU, handler_);
  }
  CpuLimit(const CpuLimit&) = delete;
  CpuLimit& operator=(const CpuLimit&) = delete;
  [[nodiscard]] int failed() const { return failed_; }  // errno

 private:
  rlimit before_{};
  sighandler_t handler_ = SIG_DFL;
  bool is_set_ = false;
  int failed_ = 0;
};

int wait_for(const UniqueFd& pidfd, siginfo_t& info, int options) {
  int rc = 0;
  do {
    info = siginfo_t{};
    rc = ::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | options);
  } while (rc != 0 && errno == EINTR);
  return rc;
}

}  // namespace

std::string ChildExit::text() const {
  if (signal == 0) return "ended with code " + std::to_string(code);
  const char* const name = ::sigabbrev_np(signal);
  return "was killed by " + (name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(signal));
}

Result<ChildProcess> ChildProcess::spawn(const ChildCommand& command) {
  std::vector<char*> argv;
  for (const std::string& word : command.words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const Files files(command);
  const Attributes attributes;
  const CpuLimit limit(command.cpu_seconds);
  if (limit.failed() != 0) return fail_errno("limit the processor time of " + command.program, limit.failed());
  ChildProcess child;
  const int rc = ::posix_spawn(&child.pid_, command.program.c_str(), files.get(), attributes.get(), argv.data(),
                               command.environment.data());
  if (rc != 0) {
    child.pid_ = -1;
    return fail_errno("start " + command.program, rc);
  }
  // Not reaped yet, so the number is still this process.
  child.pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, child.pid_, 0)));
  if (!child.pidfd_.valid()) return fail_errno("pidfd_open");
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}

ChildProcess::~ChildProcess() {
  if (pid_ <= 0) return;
  signal_group(SIGKILL);
  int rc = 0;
  do {
    rc = ::waitpid(pid_, nullptr, 0);
  } while (rc < 0 && errno == EINTR);
}

void ChildProcess::signal_group(int number) {
  if (pid_ > 0) ::kill(-pid_, number);
}

std::optional<ChildExit> ChildProcess::poll() {
  siginfo_t info;
  if (wait_for(pidfd_, info, WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return std::nullopt;
  return info.si_code == CLD_EXITED ? ChildExit{.code = info.si_status} : ChildExit{.signal = info.si_status};
}

void ChildProcess::reap() {
  ASSERT(pid_ > 0);
  signal_group(SIGKILL);
  siginfo_t info;
  (void)wait_for(pidfd_, info, 0);
  pid_ = -1;
  pidfd_.reset();
}

}  // namespace penstock
