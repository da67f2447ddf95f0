// The supervisor: the one process that keeps its privileges. It reads the configuration, holds the listeners and the
// shared memory, starts the roles, watches them and replaces them, and answers the control socket.
//
// It never sees a byte of a request, and it never loads application code. What the roles tell it is checked.
#pragma once

#include "src/config/parse.h"

#include <string>
#include <vector>

namespace penstock {

struct SupervisorOptions {
  std::string config_file;          // read at start, watched, read again on SIGHUP; "" for `serve`
  std::vector<Assignment> overlay;  // on top of the file, also after it was read again: `serve DIR`, --set, --listen
  std::string control_path;
  std::string serving;  // `serve`: what the ready line says is served; "" prints none
};

// What the process found in its environment. A parameter, so that only main() reads it.
struct SupervisorEnvironment {
  std::string listen_pid, listen_fds, listen_fdnames;  // sd_listen_fds(3)
  std::string notify_socket;                           // sd_notify(3)
  bool stderr_is_journal = false;
  std::string executable = "/proc/self/exe";  // what the roles are started from; tests name a fake
};

// Runs until it is told to stop. Returns the exit code: 0 drained and done, 1 failed, 2 the configuration is wrong.
[[nodiscard]] int run_supervisor(SupervisorOptions options, const SupervisorEnvironment& environment);

}  // namespace penstock
