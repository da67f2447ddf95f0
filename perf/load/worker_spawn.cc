// What a sandbox costs at the start of a worker: milliseconds from the call to the first instruction of the program's
// main, which writes a line; with each profile, beside the same program started bare. Alternating, median of all.
//
//   worker_spawn PENSTOCK PROGRAM [ARG…]      PROGRAM writes a line as soon as it runs: e.g. /bin/echo up
#include "pool/ring/segment.h"
#include "src/admin/worker_process.h"
#include "src/base/clock.h"
#include "src/base/doorbell.h"

#include <algorithm>
#include <cstdio>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

namespace penstock {
namespace {

constexpr int ROUNDS = 50;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void wait_line(int fd) {
  pollfd waits{.fd = fd, .events = POLLIN, .revents = 0};
  (void)::poll(&waits, 1, 10'000);
}

double bare(const std::vector<std::string>& command, RealClock& clock) {
  int fds[2];
  if (::pipe(fds) != 0) return 0;
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, fds[1], 1);
  std::vector<std::string> words = command;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const MonoTime start = clock.now();
  pid_t pid = -1;
  (void)::posix_spawn(&pid, argv[0], &files, nullptr, argv.data(), environ);
  ::close(fds[1]);
  wait_line(fds[0]);
  const double ms = static_cast<double>((clock.now() - start).ns) / 1e6;
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  ::close(fds[0]);
  ::posix_spawn_file_actions_destroy(&files);
  return ms;
}

double sandboxed(const std::string& penstock, const WorkerLaunch& launch, RealClock& clock) {
  const MonoTime start = clock.now();
  auto process = WorkerProcess::spawn(penstock, launch, start);
  if (!process) {
    std::fprintf(stderr, "worker_spawn: %s\n", process.error().message.c_str());
    return 0;
  }
  wait_line(process->output_fd());
  const double ms = static_cast<double>((clock.now() - start).ns) / 1e6;
  (void)process->kill_and_wait();
  if (auto report = process->take_report(); report && !*report) {
    std::fprintf(stderr, "worker_spawn: %s\n", report->error().message.c_str());
  }
  return ms;
}

int run(const std::string& penstock, const std::vector<std::string>& command) {
  RealClock clock;
  const SegmentMemory memory = create_segment({}).value();
  const UniqueFd bell(::eventfd(0, EFD_CLOEXEC));
  const UniqueFd bed = make_bed().value();
  WorkerLaunch launch;
  launch.command = command;
  launch.sandbox.execute_paths = {command[0]};
  launch.sandbox.listener = true;  // as the supervisor asks for it
  if (::geteuid() == 0) launch.sandbox.identity = SandboxIdentity{1'900'000'000, 1'900'000'000};
  launch.server_half = memory.server_half.get();
  launch.worker_half = memory.worker_half.get();
  launch.helper_bed = launch.worker_bed = bed.get();
  launch.server_bells = {bell.get()};
  struct Kind {
    const char* name;
    WorkerSyscalls syscalls;
    bool namespaces;
    std::vector<double> ms;
  };
  Kind kinds[] = {{"compute, no namespaces", WorkerSyscalls::COMPUTE, false, {}},
                  {"compute", WorkerSyscalls::COMPUTE, true, {}},
                  {"full", WorkerSyscalls::FULL, true, {}}};
  std::vector<double> alone;
  for (int i = 0; i < ROUNDS; ++i) {
    alone.push_back(bare(command, clock));
    for (Kind& kind : kinds) {
      WorkerSandbox& sandbox = launch.sandbox;
      sandbox.syscalls = kind.syscalls;
      sandbox.pid_namespace = sandbox.mount_namespace = sandbox.ipc_namespace = sandbox.uts_namespace = kind.namespaces;
      kind.ms.push_back(sandboxed(penstock, launch, clock));
    }
  }
  const double base = median(alone);
  std::printf("%-24s %6.2f ms\n", "bare", base);
  for (const Kind& kind : kinds) {
    std::printf("%-24s %6.2f ms   (+%.2f ms)\n", kind.name, median(kind.ms), median(kind.ms) - base);
  }
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: worker_spawn PENSTOCK PROGRAM [ARG...]\n");
    return 2;
  }
  return penstock::run(argv[1], std::vector<std::string>(argv + 2, argv + argc));
}
