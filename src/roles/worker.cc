// The worker role: read what is to be run and how, enter the sandbox, report, execute. Nothing else ever happens here:
// this process still has the supervisor's privileges in its first steps.
#include "src/roles/worker.h"

#include "src/admin/worker_launch.h"

#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr int EXIT_NOT_ENTERED = 125;
constexpr int EXIT_NOT_EXECUTED = 126;

Result<WorkerLaunch> read_launch() {
  struct stat info {};
  if (::fstat(WORKER_LAUNCH_FD, &info) != 0) return fail_errno("fstat of the launch message");
  std::string text(static_cast<size_t>(info.st_size), '\0');
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::pread(WORKER_LAUNCH_FD, text.data() + at, text.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno("read the launch message");
    at += static_cast<size_t>(n);
  }
  return decode_launch(text);
}

void say_plainly(const std::string& line) {
  for (size_t at = 0; at < line.size();) {
    const ssize_t n = ::write(WORKER_REPORT_FD, line.data() + at, line.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // the supervisor has gone
    at += static_cast<size_t>(n);
  }
}

int fail_start(const Error& error, int code) {
  say_plainly(encode_sandbox_failure(error));
  return code;
}

}  // namespace

int run_worker() {
  const Result<WorkerLaunch> launch = read_launch();
  if (!launch) return fail_start(launch.error(), EXIT_NOT_ENTERED);
  std::vector<int> keep = {launch->server_half, launch->worker_half, launch->helper_bed, launch->worker_bed};
  keep.insert(keep.end(), launch->server_bells.begin(), launch->server_bells.end());
  std::string variable = "PENSTOCK_WORKER=";
  for (const int fd : keep) variable += (variable.back() == '=' ? "" : " ") + std::to_string(fd);
  std::vector<std::string> environment = launch->environment;
  environment.push_back(std::move(variable));

  const Result<ExecOnce> once = ExecOnce::prepare(launch->command, environment);
  if (!once) return fail_start(once.error(), EXIT_NOT_ENTERED);
  const Result<SandboxReport> report =
      enter_worker_sandbox(launch->sandbox, launch->directory, keep, *once, WORKER_REPORT_FD);
  if (!report) return fail_start(report.error(), EXIT_NOT_ENTERED);
  say_plainly(encode_sandbox_report(*report));
  return fail_start(once->exec(), EXIT_NOT_EXECUTED);
}

}  // namespace penstock
