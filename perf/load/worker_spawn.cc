// What a sandbox costs at the start of a worker, in each tier and with the smallest and the largest profile:
// - milliseconds from the call to the first instruction of the program's main, which writes a line, beside the same
//   program started bare; alternating, the 50th and the 99th percentile of all;
// - KiB of memory while it runs: its own and its process 1 (Pss), and what the kernel takes for it (slabs, page tables,
//   stacks, per-processor areas), as the mean of some that live at once. Takes a program that stays after its line.
//
//   worker_spawn PENSTOCK PROGRAM [ARG…]      PROGRAM writes a line as soon as it runs: e.g. /bin/echo up
//   worker_spawn --memory PENSTOCK PROGRAM [ARG…]      e.g. build/tests/sandbox/worker_try wait
#include "pool/ring/segment.h"
#include "src/admin/worker_process.h"
#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/base/doorbell.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <thread>

namespace penstock {
namespace {

constexpr int ROUNDS = 100;
constexpr size_t ALIVE = 200;              // at once, for memory
constexpr std::chrono::seconds SETTLE{3};  // the kernel frees namespaces some time after their last process

double percentile(std::vector<double> values, size_t percent) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, values.size() * percent / 100)];
}

// The sum of the lines "NAME: N kB" of a file of /proc whose names are wanted.
double sum_kib(const std::string& path, std::initializer_list<std::string_view> names) {
  std::ifstream file(path);
  double sum = 0;
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || std::find(names.begin(), names.end(), line.substr(0, colon)) == names.end())
      continue;
    const size_t digits = line.find_first_not_of(' ', colon + 1);
    sum += static_cast<double>(parse_decimal(line.substr(digits, line.find(' ', digits) - digits)).value_or(0));
  }
  return sum;
}

double kernel_kib() { return sum_kib("/proc/meminfo", {"Slab", "KernelStack", "PageTables", "Percpu"}); }

// Of all that this process has started and not reaped: workers, and process 1 of each that has one.
double children_kib() {
  std::ifstream children("/proc/self/task/" + std::to_string(::getpid()) + "/children");
  double sum = 0;
  for (std::string pid; children >> pid;) sum += sum_kib("/proc/" + pid + "/smaps_rollup", {"Pss"});
  return sum;
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

struct Kind {
  const char* name;
  WorkerSyscalls syscalls;
  WorkerTier tier;
  std::vector<double> ms = {};
};

class Spawns {
 public:
  Spawns(std::string penstock, const std::vector<std::string>& command) : penstock_(std::move(penstock)) {
    launch_.command = command;
    launch_.command[0] = std::filesystem::absolute(command[0]);  // a worker begins in another directory
    launch_.sandbox.execute_paths = {launch_.command[0]};
    launch_.sandbox.listener = true;  // as the supervisor asks for it
    if (::geteuid() == 0) launch_.sandbox.identity = SandboxIdentity{1'900'000'000, 1'900'000'000};
    launch_.server_half = memory_.server_half.get();
    launch_.worker_half = memory_.worker_half.get();
    launch_.helper_bed = launch_.worker_bed = bed_.get();
    launch_.server_bells = {bell_.get()};
  }

  void times() {
    std::vector<double> alone;
    for (int i = 0; i < ROUNDS; ++i) {
      alone.push_back(bare(launch_.command, clock_));
      for (Kind& kind : kinds_) kind.ms.push_back(sandboxed(penstock_, launch(kind), clock_));
    }
    std::printf("%-24s p50 %6.2f ms   p99 %6.2f ms\n", "bare", percentile(alone, 50), percentile(alone, 99));
    for (const Kind& kind : kinds_) {
      const double half = percentile(kind.ms, 50);
      const double most = percentile(kind.ms, 99);
      std::printf("%-24s p50 %6.2f ms   p99 %6.2f ms   (+%.2f ms)\n", kind.name, half, most,
                  half - percentile(alone, 50));
    }
  }

  bool memory() {
    for (const Kind& kind : kinds_) {
      std::this_thread::sleep_for(SETTLE);
      const double before = kernel_kib();
      std::vector<WorkerProcess> alive;
      for (size_t i = 0; i < ALIVE; ++i) {
        auto process = WorkerProcess::spawn(penstock_, launch(kind), clock_.now());
        if (!process) return std::fprintf(stderr, "worker_spawn: %s\n", process.error().message.c_str()) < 0;
        wait_line(process->output_fd());
        alive.push_back(std::move(*process));
      }
      const double kernel = kernel_kib() - before;
      const double own = children_kib();
      for (WorkerProcess& process : alive) (void)process.kill_and_wait();
      const auto count = static_cast<double>(ALIVE);
      std::printf("%-24s own %6.0f KiB   kernel %6.0f KiB\n", kind.name, own / count, kernel / count);
    }
    return true;
  }

 private:
  const WorkerLaunch& launch(const Kind& kind) {
    launch_.sandbox.syscalls = kind.syscalls;
    launch_.sandbox.tier = kind.tier;
    return launch_;
  }

  std::string penstock_;
  RealClock clock_;
  SegmentMemory memory_ = create_segment({}).value();
  UniqueFd bell_{::eventfd(0, EFD_CLOEXEC)};
  UniqueFd bed_ = make_bed().value();
  WorkerLaunch launch_;
  Kind kinds_[5] = {{"compute, landlock", WorkerSyscalls::COMPUTE, WorkerTier::LANDLOCK},
                    {"compute, unshared", WorkerSyscalls::COMPUTE, WorkerTier::UNSHARED},
                    {"compute, ns", WorkerSyscalls::COMPUTE, WorkerTier::NS},
                    {"full, unshared", WorkerSyscalls::FULL, WorkerTier::UNSHARED},
                    {"full, ns", WorkerSyscalls::FULL, WorkerTier::NS}};
};

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  const bool memory = !words.empty() && words.front() == "--memory";
  if (memory) words.erase(words.begin());
  if (words.size() < 2) {
    std::fprintf(stderr, "usage: worker_spawn [--memory] PENSTOCK PROGRAM [ARG...]\n");
    return 2;
  }
  penstock::Spawns spawns(words.front(), {words.begin() + 1, words.end()});
  if (memory) return spawns.memory() ? 0 : 1;
  spawns.times();
  return 0;
}
