// The command line: `penstock serve DIR`, `run -c FILE`, `sysctl`, `status`, `top` … CLI11's only home.
//
// Parses, runs the commands that speak to a running instance, and says for `serve` and `run` what the supervisor
// should do; starting that is main()'s, so that the commands never link into a role by accident.
#pragma once

#include "src/roles/supervisor.h"

#include <optional>
#include <string>

namespace penstock {

struct CliEnvironment {
  std::string xdg_runtime_dir;
};

struct CliOutcome {
  int exit_code = 0;                           // 0 done, 1 failed, 2 wrong usage or configuration
  std::optional<SupervisorOptions> supervise;  // `serve`, `run`: start a supervisor with this
};

[[nodiscard]] CliOutcome run_cli(int argc, char** argv, const CliEnvironment& environment);

}  // namespace penstock
