// Every row of worker_attempts.def, in a worker process as the supervisor starts it: with the smallest and the largest
// profile, under an identity of its own (root) and as a user without privileges.
#include "pool/ring/segment.h"
#include "src/admin/worker_process.h"

#include <algorithm>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sstream>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock::test {
namespace {

constexpr uid_t POOL = 1'900'000'001;
constexpr uid_t OTHER_POOL = 1'900'000'002;
constexpr uid_t CALLER = 64'999;  // who runs penstock without root

struct Row {
  const char* name;
  const char* compute;
  const char* full;
};
constexpr Row ROWS[] = {
#define ATTEMPT(name, compute, full, code) {#name, compute, full},
#include "tests/sandbox/worker_attempts.def"
#undef ATTEMPT
};

struct Case {
  Row row;
  bool full;
  bool root;
};

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const Row& row : ROWS) {
    for (const bool full : {false, true}) {
      for (const bool root : {true, false}) out.push_back({row, full, root});
    }
  }
  return out;
}

bool wait_readable(int fd) {
  pollfd waits{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&waits, 1, 20'000) == 1;
}

std::string outcome_text(const RoleExit& end) {
  if (end.signal == SIGSYS) return "SYS";
  if (end.signal == SIGABRT) return "ABRT";
  if (end.signal != 0) return end.text();
  if (end.code == 0) return "0";
  const char* const name = ::strerrorname_np(end.code);
  return name != nullptr && end.code < 200 ? name : end.text();
}

// The directories and processes around the attempts, of one caller. A worker's state is private to its pool.
class Ground {
 public:
  explicit Ground(bool root) : root_(root) {
    char name[] = "/var/tmp/penstock-worker-XXXXXX";
    base_ = ::mkdtemp(name) != nullptr ? name : "";
    for (const char* directory : {"app", "state", "others", "www"}) {
      std::filesystem::create_directory(base_ + "/" + directory);
      ::chmod((base_ + "/" + directory).c_str(), 0777);
    }
    for (const char* file : {"app/page", "others/secret", "www/index.html"}) {
      std::ofstream(base_ + "/" + file) << "text";
      ::chmod((base_ + "/" + file).c_str(), 0666);  // Landlock alone stands before them
    }
    ::chmod(base_.c_str(), 0755);
    abstract_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string socket_name = base_.substr(1);
    std::memcpy(address.sun_path + 1, socket_name.data(), socket_name.size());
    (void)::bind(abstract_, reinterpret_cast<sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + socket_name.size()));
    (void)::listen(abstract_, 8);
  }
  ~Ground() {
    ::close(abstract_);
    if (!base_.empty()) std::filesystem::remove_all(base_);
  }
  Ground(const Ground&) = delete;
  Ground& operator=(const Ground&) = delete;

  WorkerLaunch launch(const std::string& attempt, bool full, uid_t uid) const {
    WorkerLaunch launch;
    launch.pool = "test";
    launch.command = {WORKER_TRY, attempt};
    launch.directory = base_ + "/app";
    launch.environment = {"TRY_SUPERVISOR=" + std::to_string(::getpid()),
                          "TRY_APP=" + base_ + "/app",
                          "TRY_STATE=" + base_ + "/state",
                          "TRY_OTHERS=" + base_ + "/others",
                          "TRY_SERVED=" + base_ + "/www/index.html",
                          "TRY_ABSTRACT=" + base_.substr(1),
                          std::string("TRY_PROGRAM=") + WORKER_TRY};
    WorkerSandbox& sandbox = launch.sandbox;
    if (root_) sandbox.identity = SandboxIdentity{uid, uid};
    sandbox.syscalls = full ? WorkerSyscalls::FULL : WorkerSyscalls::COMPUTE;
    sandbox.network = full ? WorkerNetwork::UNIX : WorkerNetwork::NONE;
    sandbox.read_paths = {base_ + "/app"};
    sandbox.write_paths = {base_ + "/state"};
    sandbox.execute_paths = {WORKER_TRY};
    sandbox.limits = {.files = 64, .processes = 32, .address_space = 1ULL << 30, .core = 0};
    launch.server_half = memory_.server_half.get();
    launch.worker_half = memory_.worker_half.get();
    launch.worker_bell = bell_.get();
    launch.server_bells = {bell_.get()};
    return launch;
  }

 private:
  bool root_;
  std::string base_;
  int abstract_ = -1;
  SegmentMemory memory_ = create_segment({}).value();
  UniqueFd bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

std::string end_of(WorkerProcess& process) {
  while (wait_readable(process.report_fd())) {
    if (const auto report = process.take_report()) {
      if (!*report) return (void)process.kill_and_wait(), report->error().message;
      break;
    }
  }
  while (wait_readable(process.pidfd())) {
    if (const auto end = process.reap()) return outcome_text(*end);
  }
  process.kill_and_wait();
  return "does not end";
}

std::string try_in_worker(const Case& c) {
  const Ground ground(c.root);
  // Somebody of another pool and somebody of the same, as targets.
  auto other = WorkerProcess::spawn(PENSTOCK_BINARY, ground.launch("wait", c.full, OTHER_POOL), MonoTime{});
  auto same = WorkerProcess::spawn(PENSTOCK_BINARY, ground.launch("wait", c.full, POOL), MonoTime{});
  if (!other || !same) return "no targets";
  std::string outcome = "targets do not start";
  if (wait_readable(other->output_fd()) && wait_readable(same->output_fd())) {
    WorkerLaunch launch = ground.launch(c.row.name, c.full, POOL);
    launch.environment.push_back("TRY_OTHER=" + std::to_string(other->pid()));
    launch.environment.push_back("TRY_SAME=" + std::to_string(same->pid()));
    auto process = WorkerProcess::spawn(PENSTOCK_BINARY, launch, MonoTime{});
    outcome = process ? end_of(*process) : process.error().message;
    if (other->reap() || same->reap()) outcome += ", and a target has ended";
  }
  other->kill_and_wait();
  same->kill_and_wait();
  return outcome;
}

// In a child, so that it can become somebody without privileges.
std::string try_as(const Case& c) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    if (!c.root && ::geteuid() == 0 &&
        (::setgroups(0, nullptr) != 0 || ::setresgid(CALLER, CALLER, CALLER) != 0 ||
         ::setresuid(CALLER, CALLER, CALLER) != 0)) {
      ::_exit(1);
    }
    const std::string outcome = try_in_worker(c);
    (void)!::write(fds[1], outcome.data(), outcome.size());
    ::_exit(0);
  }
  ::close(fds[1]);
  std::string outcome;
  char buffer[1024];
  for (ssize_t n = 0; (n = ::read(fds[0], buffer, sizeof buffer)) > 0;) outcome.append(buffer, static_cast<size_t>(n));
  ::close(fds[0]);
  ::waitpid(child, nullptr, 0);
  return outcome;
}

class WorkerSandboxAttempt : public testing::TestWithParam<Case> {};

TEST_P(WorkerSandboxAttempt, ends_as_it_must) {
  const Case& c = GetParam();
  if (c.root && ::geteuid() != 0) GTEST_SKIP() << "needs root";
  std::istringstream right(c.full ? c.row.full : c.row.compute);
  const std::vector<std::string> answers{std::istream_iterator<std::string>(right), {}};
  const std::string outcome = try_as(c);
  EXPECT_NE(std::find(answers.begin(), answers.end(), outcome), answers.end())
      << outcome << ", expected " << (c.full ? c.row.full : c.row.compute);
}

INSTANTIATE_TEST_SUITE_P(Workers, WorkerSandboxAttempt, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& row) {
                           return std::string(row.param.row.name) + (row.param.full ? "_full" : "_compute") +
                                  (row.param.root ? "_root" : "_user");
                         });

}  // namespace
}  // namespace penstock::test
