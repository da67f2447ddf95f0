// WorkerProcess: one process of an application pool as the supervisor sees it: started, watched, ended, reaped.
//
// Mechanism only; when to start and end is the supervisor's. The process is penstock-worker (src/roles/worker_main.cc),
// a small program that the loader has nothing to do for, or where that does not lie beside this executable, this same
// one run anew as `penstock --role worker`. Either reads its WorkerLaunch, enters its sandbox and execs the runtime: no
// memory of the supervisor is ever in it, and no program ever runs with more than the sandbox allows. stdin is
// /dev/null, stdout and stderr are the worker's log pipe. It is watched by pidfd.
//
// Where the supervisor is root and the profile asks for a pid namespace, a second process, penstock-init, is the first
// of that namespace (pool/sandbox/init), and the worker the second. The pid is the worker's own, so its memory, its
// signals and the way it ended are its own too. Everything that it started is gone when reap() says how it ended.
#pragma once

#include "pool/sandbox/syscall_listener.h"
#include "src/admin/role_process.h"
#include "src/admin/worker_launch.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <optional>
#include <string>
#include <vector>

namespace penstock {

class WorkerProcess {
 public:
  // Starts `executable` (usually /proc/self/exe). REQUIRES: called from a process with one thread, which is reaped by
  // nobody else and does not ignore SIGCHLD.
  // Error: what could not be made or started. That the sandbox or the runtime failed is told by take_report().
  [[nodiscard]] static Result<WorkerProcess> spawn(const std::string& executable, const WorkerLaunch& launch,
                                                   MonoTime now);

  WorkerProcess(WorkerProcess&&) = default;
  WorkerProcess& operator=(WorkerProcess&&) = default;
  ~WorkerProcess() = default;  // neither kills nor waits

  // To the process and all it started; one that has ended is no error. SIGKILL reaches all of them where there is a
  // pid namespace; every other signal, and SIGKILL without one, those that are in its process group.
  void signal(int number);
  // How it ended, once it has; what it started is killed first and gone then. Without a pid namespace what has a
  // session of its own goes on. Waits a few milliseconds at most.
  [[nodiscard]] std::optional<RoleExit> reap();
  RoleExit kill_and_wait();

  [[nodiscard]] int pidfd() const { return pidfd_.get(); }  // readable once the process has ended
  [[nodiscard]] pid_t pid() const { return pid_; }
  // Itself, and process 1 of its pid namespace: what it has started descends from one of them. Not reaped.
  [[nodiscard]] std::vector<pid_t> roots() const;
  // Readable when the sandbox has been entered and the runtime exec'd, or when that failed: then take_report(). To be
  // watched until take_report() has answered.
  [[nodiscard]] int report_fd() const { return report_.get(); }
  // The sandbox's steps, or why the process could not become a worker; nothing while it is not known. Never blocks.
  [[nodiscard]] std::optional<Result<SandboxReport>> take_report();
  // Once take_report() has answered: where its denied calls wait. Closed if none was wanted or the kernel gave none.
  [[nodiscard]] SyscallListener take_listener() { return SyscallListener(std::move(listener_)); }
  // stdout and stderr of the application: non-blocking; end of file once all its processes are gone.
  [[nodiscard]] int output_fd() const { return output_.get(); }

  MonoTime started;

 private:
  WorkerProcess() = default;
  [[nodiscard]] bool init_gone(bool wait);
  [[nodiscard]] std::optional<RoleExit> wait_for_end(bool wait);

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd init_;  // pidfd of process 1 of the worker's pid namespace, until that is reaped; without one: invalid
  pid_t init_pid_ = -1;
  UniqueFd report_;
  UniqueFd listener_;  // that came with the report
  UniqueFd output_;
  std::string report_text_;
  std::optional<RoleExit> worker_exit_;  // of the worker itself
  std::optional<RoleExit> exit_;         // the same, once all it started is gone
};

}  // namespace penstock
