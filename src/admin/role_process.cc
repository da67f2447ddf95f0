#include "src/admin/role_process.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr std::string_view KEPT_VARIABLES[] = {
    "TZ=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=", "LLVM_PROFILE_FILE=", "PENSTOCK_SANDBOX="};

// The attributes of posix_spawn: a process group of its own, every signal at its default and unblocked.
class SpawnAttributes {
 public:
  SpawnAttributes() {
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
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&raw_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  [[nodiscard]] const posix_spawnattr_t* get() const { return &raw_; }

 private:
  posix_spawnattr_t raw_{};
};

// Descriptors of the new process: stdin from /dev/null, stdout and stderr ours, the channel, nothing above.
class SpawnFiles {
 public:
  explicit SpawnFiles(int channel) {
    ::posix_spawn_file_actions_init(&raw_);
    ::posix_spawn_file_actions_addopen(&raw_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&raw_, channel, ROLE_CHANNEL_FD);
    ::posix_spawn_file_actions_addclosefrom_np(&raw_, ROLE_CHANNEL_FD + 1);
  }
  ~SpawnFiles() { ::posix_spawn_file_actions_destroy(&raw_); }
  SpawnFiles(const SpawnFiles&) = delete;
  SpawnFiles& operator=(const SpawnFiles&) = delete;
  [[nodiscard]] const posix_spawn_file_actions_t* get() const { return &raw_; }

 private:
  posix_spawn_file_actions_t raw_{};
};

}  // namespace

std::string RoleExit::text() const {
  if (signal == 0) return "exited with code " + std::to_string(code);
  const char* name = ::sigabbrev_np(signal);
  std::string text = "was killed by " + (name != nullptr ? "SIG" + std::string(name) : std::to_string(signal));
  if (signal == SIGSYS) text += " (a system call that its sandbox forbids; the kernel log names it)";
  return text;
}

std::string_view role_state_name(RoleProcess::State state) {
  switch (state) {
    case RoleProcess::State::STARTING:
      return "starting";
    case RoleProcess::State::READY:
      return "ready";
    case RoleProcess::State::DRAINING:
      return "draining";
  }
  return "?";
}

std::vector<std::string> role_environment(const char* const* environment) {
  std::vector<std::string> kept;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const std::string_view variable = *environment;
    for (const std::string_view prefix : KEPT_VARIABLES) {
      if (variable.starts_with(prefix)) kept.emplace_back(variable);
    }
  }
  return kept;
}

Result<RoleProcess> RoleProcess::spawn(const std::string& executable, std::string role, uint32_t serial, MonoTime now) {
  auto pair = Channel::make_pair();
  if (!pair) return std::unexpected(pair.error());
  std::vector<std::string> words = {"penstock", "--role", role, "--channel", std::to_string(ROLE_CHANNEL_FD)};
  std::vector<std::string> variables = role_environment(environ);
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (std::string& word : words) argv.push_back(word.data());
  for (std::string& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  const SpawnFiles files(pair->theirs.get());
  const SpawnAttributes attributes;
  RoleProcess process;
  const int rc =
      ::posix_spawn(&process.pid_, executable.c_str(), files.get(), attributes.get(), argv.data(), envp.data());
  if (rc != 0) return fail_errno("start " + role, rc);
  // Not reaped yet, so the number is still this process.
  process.pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, process.pid_, 0)));
  if (!process.pidfd_.valid()) {
    auto failed = fail_errno("pidfd_open");
    ::kill(process.pid_, SIGKILL);
    ::waitpid(process.pid_, nullptr, 0);
    return failed;
  }
  process.role = std::move(role);
  process.serial = serial;
  process.channel = std::move(pair->ours);
  process.started = now;
  return process;
}

void RoleProcess::signal(int number) {
  if (!exit_) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
}

std::optional<RoleExit> RoleProcess::wait_for_end(int options) {
  if (exit_) return exit_;
  siginfo_t info{};
  int rc = 0;
  do {
    rc = ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | options);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0 || info.si_pid == 0) return std::nullopt;
  RoleExit end;
  if (info.si_code == CLD_EXITED) {
    end.code = info.si_status;
    end.clean = end.code == 0;
  } else {
    end.signal = info.si_status;
    end.core = info.si_code == CLD_DUMPED;
  }
  exit_ = end;
  return exit_;
}

std::optional<RoleExit> RoleProcess::reap() { return wait_for_end(WNOHANG); }

RoleExit RoleProcess::kill_and_wait() {
  signal(SIGKILL);
  return wait_for_end(0).value_or(RoleExit{});
}

}  // namespace penstock
