// WorkerLaunch: everything that a worker process is started with, and its form on the way from the supervisor.
//
// It travels as JSON in a sealed memfd (never in argv, which everybody can read); the descriptors travel as such.
// Strings are bytes: those above 0x7f are written as the code point of that number, so that any path arrives as it was.
#pragma once

#include "pool/sandbox/worker_sandbox.h"
#include "src/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct WorkerLaunch {
  std::string pool;
  uint64_t worker = 0;
  std::vector<std::string> command;      // [0]: absolute path of the runtime program
  std::vector<std::string> environment;  // "NAME=value"; all of it but PENSTOCK_WORKER (pool/sdk), which is added
  std::string directory = "/";           // working directory
  WorkerSandbox sandbox;
  // Descriptors stay the caller's. The server's half is made read-only on the way, if it is not.
  int server_half = -1;
  int worker_half = -1;
  int helper_bed = -1;  // where the worker sleeps (src/base/doorbell.h); it never has the bell
  int worker_bed = -1;
  std::vector<int> server_bells;  // by reactor
};

// Where the process finds what it is given.
inline constexpr int WORKER_LAUNCH_FD = 3;
inline constexpr int WORKER_REPORT_FD = 4;
inline constexpr int WORKER_FIRST_FD = 5;  // server's half, worker's half, worker's two beds, server's bells

// Without the descriptors, of which `server_bells` keeps its number: decode fills in the places above.
[[nodiscard]] std::string encode_launch(const WorkerLaunch& launch);
[[nodiscard]] Result<WorkerLaunch> decode_launch(std::string_view text);

// What the process says on its report socket: lines, of which the last counts.
[[nodiscard]] std::string encode_sandbox_report(const SandboxReport& report);
[[nodiscard]] std::string encode_sandbox_failure(const Error& error);
// `text`: all that came until the end of the pipe. Error: the failure, or what says that the process ended before.
[[nodiscard]] Result<SandboxReport> decode_sandbox_report(std::string_view text);

}  // namespace penstock
