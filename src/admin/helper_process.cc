#include "src/admin/helper_process.h"

#include "src/admin/process_exit.h"

#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock {

Result<HelperProcess> HelperProcess::start(const std::string& program, std::vector<std::string> words,
                                           std::vector<std::string> variables, int input) {
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (std::string& word : words) argv.push_back(word.data());
  for (std::string& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawnattr_init(&attributes);
  if (input >= 0) {
    ::posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
  } else {
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  }
  ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
  sigset_t all;
  sigset_t none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  HelperProcess process;
  const int rc = ::posix_spawn(&process.pid_, program.c_str(), &files, &attributes, argv.data(), envp.data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  if (rc != 0) return fail_errno("start", rc);
  process.pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, process.pid_, 0)));
  if (process.pidfd_.valid()) return process;
  const auto failed = fail_errno("pidfd_open");
  ::kill(process.pid_, SIGKILL);
  ::waitpid(process.pid_, nullptr, 0);
  return failed;
}

std::optional<RoleExit> HelperProcess::reap() {
  if (!exit_) exit_ = wait_for_exit(pidfd_.get(), false);
  return exit_;
}

void HelperProcess::kill() {
  if (exit_) return;
  ::kill(-pid_, SIGKILL);  // not reaped yet, so the number is still its group
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);  // which it may have left
}

RoleExit HelperProcess::kill_and_wait() {
  if (exit_) return *exit_;
  kill();
  exit_ = wait_for_exit(pidfd_.get(), true);
  return exit_.value_or(RoleExit{});
}

}  // namespace penstock
