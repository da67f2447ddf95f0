// WorkerProcess: one process of an application pool as the supervisor sees it: started, watched, ended, reaped.
//
// Mechanism only; when to start and end is the supervisor's. The process is this same executable, run anew as
// `penstock --role worker`, which reads its WorkerLaunch, enters its sandbox and execs the runtime: no memory of the
// supervisor is ever in it, and no program ever runs with more than the sandbox allows. stdin is /dev/null, stdout and
// stderr are the worker's log pipe. It is watched by pidfd.
#pragma once

#include "pool/sandbox/worker_sandbox.h"
#include "src/admin/role_process.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

// Everything that a worker process is started with. Descriptors stay the caller's.
struct WorkerLaunch {
  std::string pool;
  uint64_t worker = 0;
  std::vector<std::string> command;      // [0]: absolute path of the runtime program
  std::vector<std::string> environment;  // "NAME=value"; all of it but PENSTOCK_WORKER (pool/sdk), which is added
  std::string directory = "/";           // working directory
  WorkerSandbox sandbox;
  int server_half = -1;
  int worker_half = -1;
  int worker_bell = -1;
  std::vector<int> server_bells;  // by reactor
};

class WorkerProcess {
 public:
  [[nodiscard]] static Result<WorkerProcess> spawn(const std::string& executable, const WorkerLaunch& launch,
                                                   MonoTime now);

  WorkerProcess(WorkerProcess&&) = default;
  WorkerProcess& operator=(WorkerProcess&&) = default;
  ~WorkerProcess() = default;  // neither kills nor waits

  void signal(int number);  // to the process and all it started; one that has ended is no error
  [[nodiscard]] std::optional<RoleExit> reap();
  RoleExit kill_and_wait();

  [[nodiscard]] int pidfd() const { return pidfd_.get(); }  // readable once the process has ended
  [[nodiscard]] pid_t pid() const { return pid_; }
  // Readable when the sandbox has been entered and the runtime exec'd, or when that failed: then take_report().
  [[nodiscard]] int report_fd() const { return report_.get(); }
  // The sandbox's steps, or why the process could not become a worker; nothing while it is not known. Never blocks.
  [[nodiscard]] std::optional<Result<SandboxReport>> take_report();
  // stdout and stderr of the application: non-blocking; end of file once all its processes are gone.
  [[nodiscard]] int output_fd() const { return output_.get(); }

  MonoTime started;

 private:
  WorkerProcess() = default;
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd report_;
  UniqueFd output_;
  std::string report_text_;
  std::optional<RoleExit> exit_;
};

}  // namespace penstock
