// WorkerProcess with the real binary: processes are started, watched, ended, and leave nothing behind.
//
// PENSTOCK_KILLS=100000 for the long run of what becomes of a number that another process has got.
#include "src/admin/worker_process.h"

#include "pool/ring/segment.h"
#include "src/admin/program_path.h"
#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/base/doorbell.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock {
namespace {

// A shell script as the runtime, in a sandbox that lets it start programs.
class WorkerProcessTest : public ::testing::Test {
 protected:
  WorkerLaunch launch(const std::string& script) {
    WorkerLaunch launch;
    launch.pool = "test";
    launch.worker = 7;
    launch.command = {"/bin/sh", "-c", script};
    launch.environment = {"PATH=/usr/bin:/bin", "GREETING=g\xc3\xbc\xff"};
    launch.sandbox.syscalls = WorkerSyscalls::FULL;
    launch.sandbox.read_paths = {"/"};
    launch.sandbox.execute_paths = {"/usr", "/bin", "/lib", "/lib64"};
    if (::geteuid() == 0) launch.sandbox.identity = SandboxIdentity{65120, 65120};
    launch.server_half = memory_.server_half.get();
    launch.worker_half = memory_.worker_half.get();
    launch.helper_bed = launch.worker_bed = bed_.get();
    launch.server_bells = {server_bell_.get(), bell_.get()};
    return launch;
  }
  WorkerProcess start(const WorkerLaunch& launch) {
    auto process = WorkerProcess::spawn(PENSTOCK_BINARY, launch, MonoTime{});
    EXPECT_TRUE(process) << process.error().message;
    return std::move(*process);
  }
  static bool wait_readable(int fd) {
    pollfd waits{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&waits, 1, 10'000) == 1;
  }
  static Result<SandboxReport> report_of(WorkerProcess& process) {
    while (wait_readable(process.report_fd())) {
      if (auto report = process.take_report()) return std::move(*report);
    }
    return fail("no report came");
  }
  // Until the end of the output.
  static std::string output_of(const WorkerProcess& process) {
    std::string text;
    char buffer[4096];
    while (wait_readable(process.output_fd())) {
      const ssize_t n = ::read(process.output_fd(), buffer, sizeof buffer);
      if (n <= 0) break;
      text.append(buffer, static_cast<size_t>(n));
    }
    return text;
  }
  static std::string line_of(const WorkerProcess& process) {
    char buffer[4096];
    if (!wait_readable(process.output_fd())) return "nothing";
    const ssize_t n = ::read(process.output_fd(), buffer, sizeof buffer);
    return std::string(buffer, n > 0 ? static_cast<size_t>(n) : 0);
  }
  static RoleExit end_of(WorkerProcess& process) {
    while (wait_readable(process.pidfd())) {
      if (auto end = process.reap()) return *end;
    }
    ADD_FAILURE() << "it did not end";
    return process.kill_and_wait();
  }

  SegmentMemory memory_ = create_segment({}).value();
  UniqueFd bed_ = make_bed().value();
  UniqueFd bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  UniqueFd server_bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

TEST_F(WorkerProcessTest, gets_its_environment_and_descriptors_and_nothing_else) {
  WorkerProcess process = start(launch("echo $GREETING,$HOME,$PENSTOCK_WORKER; ls /dev/fd 2>/dev/null; exit 3"));
  const auto report = report_of(process);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_FALSE(report->steps.empty());
  const std::string output = output_of(process);
  EXPECT_TRUE(output.starts_with("g\xc3\xbc\xff,,5 6 7 8 9 10\n")) << output;
  const RoleExit end = end_of(process);
  EXPECT_EQ(end.code, 3) << end.text();
}

TEST_F(WorkerProcessTest, has_no_input_and_no_terminal) {
  WorkerProcess process = start(launch("read line; echo got $?; (: </dev/tty) 2>/dev/null && echo tty; exit 0"));
  EXPECT_EQ(output_of(process), "got 1\n");
  EXPECT_TRUE(end_of(process).clean);
}

TEST_F(WorkerProcessTest, pid_is_the_one_of_the_runtime_and_signals_end_it_truthfully) {
  for (const int number : {SIGTERM, SIGABRT, SIGSEGV, SIGKILL, SIGSYS}) {
    WorkerProcess process = start(launch("echo up; while :; do :; done"));
    ASSERT_EQ(line_of(process), "up\n");
    ::kill(process.pid(), number);
    EXPECT_EQ(end_of(process).signal, number);
  }
}

TEST_F(WorkerProcessTest, signal_reaches_what_the_worker_started) {
  WorkerProcess process = start(launch("sh -c 'trap \"echo child; exit\" TERM; echo up; while :; do :; done' & wait"));
  ASSERT_EQ(line_of(process), "up\n");
  process.signal(SIGTERM);
  EXPECT_EQ(end_of(process).signal, SIGTERM);
}

TEST_F(WorkerProcessTest, nothing_of_it_is_left_when_it_has_been_reaped) {
  WorkerProcess process = start(launch("sh -c 'trap \"\" TERM HUP; echo $$; while :; do :; done' & read x; wait"));
  ASSERT_FALSE(line_of(process).empty());
  ::kill(process.pid(), SIGKILL);
  EXPECT_EQ(end_of(process).signal, SIGKILL);
  EXPECT_EQ(output_of(process), "");  // its end came, so no process holds the pipe
}

// As penstock-cgi starts its scripts: in process groups of their own.
TEST_F(WorkerProcessTest, nothing_of_its_session_is_left_in_whatever_process_group) {
  if (::access("/usr/bin/perl", X_OK) != 0) GTEST_SKIP() << "needs perl";
  for (const WorkerTier tier : {WorkerTier::LANDLOCK, WorkerTier::UNSHARED}) {
    WorkerLaunch away = launch("perl -e 'setpgrp; $| = 1; print \"up\\n\"; fork; 1 while 1' & read x; wait");
    away.sandbox.tier = tier;
    WorkerProcess process = start(away);
    ASSERT_EQ(line_of(process), "up\n");
    ::kill(process.pid(), SIGKILL);
    EXPECT_EQ(end_of(process).signal, SIGKILL);
    char byte = 0;
    ASSERT_TRUE(wait_readable(process.output_fd())) << "somebody holds the pipe";
    EXPECT_EQ(::read(process.output_fd(), &byte, 1), 0);
  }
}

TEST_F(WorkerProcessTest, kill_and_wait_ends_a_stopped_one) {
  WorkerProcess process = start(launch("echo up; kill -STOP $$; echo never"));
  ASSERT_EQ(line_of(process), "up\n");
  EXPECT_EQ(process.kill_and_wait().signal, SIGKILL);
  EXPECT_EQ(output_of(process), "");
  process.signal(SIGTERM);  // no error
  EXPECT_EQ(process.reap()->signal, SIGKILL);
}

TEST_F(WorkerProcessTest, a_runtime_that_is_missing_is_reported) {
  WorkerLaunch broken = launch("");
  broken.command = {"/nowhere/penstock-native"};
  WorkerProcess process = start(broken);
  const auto report = report_of(process);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message, "execute /nowhere/penstock-native: No such file or directory");
  EXPECT_EQ(end_of(process).code, 126);
}

TEST_F(WorkerProcessTest, a_sandbox_that_cannot_be_entered_is_reported) {
  WorkerLaunch broken = launch("");
  broken.directory = "/nowhere";
  WorkerProcess process = start(broken);
  const auto report = report_of(process);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message, "enter the directory /nowhere: No such file or directory");
  EXPECT_EQ(end_of(process).code, 125);
}

TEST_F(WorkerProcessTest, root_is_no_identity) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  for (const bool named : {false, true}) {
    WorkerLaunch broken = launch("");
    broken.sandbox.identity.reset();
    if (named) broken.sandbox.identity = SandboxIdentity{0, 0};
    WorkerProcess process = start(broken);
    EXPECT_FALSE(report_of(process));
    EXPECT_EQ(end_of(process).code, 125);
  }
}

TEST_F(WorkerProcessTest, this_process_stays_in_its_own_pid_namespace) {
  WorkerProcess process = start(launch("exit 0"));
  EXPECT_TRUE(end_of(process).clean);
  EXPECT_EQ(std::filesystem::read_symlink("/proc/self/ns/pid"),
            std::filesystem::read_symlink("/proc/self/ns/pid_for_children"));
}

// A process with a number of our choice, alone in its group and session, which gives back a byte for each that it gets.
class Namesake {
 public:
  explicit Namesake(pid_t number) {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return;
    clone_args how{};
    how.exit_signal = SIGCHLD;
    how.set_tid = reinterpret_cast<uint64_t>(&number);
    how.set_tid_size = 1;
    pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &how, sizeof how));
    if (pid_ == 0) {
      ::setsid();
      ::close(fds[0]);
      for (char byte = 0; ::read(fds[1], &byte, 1) == 1;) (void)!::write(fds[1], &byte, 1);
      ::_exit(0);
    }
    ::close(fds[1]);
    socket_.reset(fds[0]);
  }
  ~Namesake() {
    socket_.reset();
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }
  Namesake(const Namesake&) = delete;
  Namesake& operator=(const Namesake&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }
  // A signal that was sent before is delivered before the answer.
  [[nodiscard]] bool lives() const {
    char byte = 0;
    return ::send(socket_.get(), &byte, 1, MSG_NOSIGNAL) == 1 && ::read(socket_.get(), &byte, 1) == 1;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd socket_;
};

// DY10. The kernel gives out a number again as soon as its process was reaped; here at once, every time.
TEST_F(WorkerProcessTest, whoever_gets_its_number_is_left_alone) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to choose the number of a process";
  const char* const wanted = std::getenv("PENSTOCK_KILLS");
  const uint64_t kills = wanted != nullptr ? parse_decimal(wanted).value() : 12;
  WorkerLaunch quick = launch("");
  quick.command = {"/bin/true"};
  for (uint64_t i = 0; i < kills && !HasFailure(); ++i) {
    quick.sandbox.tier = static_cast<WorkerTier>(i % 3);  // with a process 1 of its own, and without
    WorkerProcess process = start(quick);
    const pid_t number = process.pid();
    if (i % 4 == 0) process.signal(SIGKILL);
    if (i % 4 == 1) ::kill(number, SIGKILL);   // by somebody else
    if (i % 4 == 2) (void)report_of(process);  // about to end by itself
    const bool waits = i % 2 == 0;
    if (waits) process.signal(SIGTERM);
    if (waits) {
      (void)process.kill_and_wait();
    } else {
      (void)end_of(process);
    }
    const Namesake other(number);
    ASSERT_EQ(other.pid(), number) << "was it not reaped? kill " << i;
    ASSERT_TRUE(other.lives());
    process.signal(SIGKILL);
    process.signal(SIGTERM);
    (void)process.reap();
    (void)process.kill_and_wait();
    { const WorkerProcess gone = std::move(process); }
    EXPECT_TRUE(other.lives()) << "kill " << i;
  }
}

// The process before its exec: held where it joins a cgroup, which is a FIFO that nobody reads yet.
class StartedProgram : public WorkerProcessTest {
 protected:
  ~StartedProgram() override { std::filesystem::remove_all(directory_); }
  // The name of the program that enters the sandbox when `executable` starts workers.
  std::string name_of(const std::string& executable) {
    WorkerLaunch held = launch("exit 0");
    held.sandbox.cgroup = directory_;
    auto process = WorkerProcess::spawn(executable, held, MonoTime{});
    EXPECT_TRUE(process) << process.error().message;
    const std::string link = "/proc/" + std::to_string(process->pid()) + "/exe";
    const std::string name = std::filesystem::read_symlink(link).filename();
    const UniqueFd reader(::open((directory_ + "/cgroup.procs").c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(report_of(*process));
    EXPECT_TRUE(end_of(*process).clean);
    return name;
  }
  std::string directory_ = [] {
    std::string path = "/tmp/penstock-started-XXXXXX";
    EXPECT_NE(::mkdtemp(path.data()), nullptr);
    EXPECT_EQ(::mkfifo((path + "/cgroup.procs").c_str(), 0600), 0);
    return path;
  }();
};

TEST_F(StartedProgram, is_the_small_one_that_lies_beside_the_binary) {
  const auto program = program_path(PENSTOCK_BINARY, "penstock-worker");
  if (!program) GTEST_SKIP() << program.error().message << ": not linked with sanitizers";
  EXPECT_EQ(name_of(PENSTOCK_BINARY), "penstock-worker");
}

TEST_F(StartedProgram, is_the_binary_where_that_lies_alone) {
  const std::string alone = directory_ + "/penstock";
  std::filesystem::copy_file(PENSTOCK_BINARY, alone);
  EXPECT_EQ(name_of(alone), "penstock");
}

TEST_F(WorkerProcessTest, dies_with_the_supervisor) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  const pid_t supervisor = ::fork();
  if (supervisor == 0) {
    WorkerProcess process = start(launch("echo up; while :; do :; done"));
    const pid_t pid = line_of(process) == "up\n" ? process.pid() : -1;
    (void)!::write(fds[1], &pid, sizeof pid);
    ::pause();
  }
  pid_t pid = -1;
  ASSERT_EQ(::read(fds[0], &pid, sizeof pid), ssize_t{sizeof pid});
  const UniqueFd worker(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  ASSERT_TRUE(worker.valid());
  ::kill(supervisor, SIGKILL);
  ::waitpid(supervisor, nullptr, 0);
  EXPECT_TRUE(wait_readable(worker.get()));
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST_F(WorkerProcessTest, no_descriptor_is_lost) {
  const auto count = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const auto before = count();
  for (int i = 0; i < 5; ++i) {
    WorkerProcess process = start(launch("exit 0"));
    (void)report_of(process);
    EXPECT_TRUE(end_of(process).clean);
  }
  EXPECT_EQ(count(), before);
}

TEST(WorkerLaunchText, comes_back_as_it_was) {
  WorkerLaunch launch;
  launch.pool = "p";
  launch.worker = UINT64_MAX;
  launch.command = {"/a b\"\\", "\xff\x80\xc3\xbc"};
  launch.environment = {"A=\n"};
  launch.directory = "/d";
  launch.server_bells = {1, 2, 3};
  WorkerSandbox& sandbox = launch.sandbox;
  sandbox.identity = SandboxIdentity{1, 2};
  sandbox.groups = {3, 4};
  sandbox.syscalls = WorkerSyscalls::FULL;
  sandbox.network = WorkerNetwork::CLIENT;
  sandbox.read_paths = {"/r"};
  sandbox.write_paths = {"/w"};
  sandbox.execute_paths = {"/x", "/y"};
  sandbox.seen_paths = {"/s"};
  sandbox.tier = WorkerTier::NS;
  sandbox.private_tmp = true;
  sandbox.limits = {.files = 5, .processes = 6, .address_space = 7, .core = 8};
  sandbox.cpus = {1, 9};
  sandbox.cgroup = "/c";
  const auto back = decode_launch(encode_launch(launch));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->command, launch.command);
  EXPECT_EQ(encode_launch(*back), encode_launch(launch));
  EXPECT_EQ(back->server_half, WORKER_FIRST_FD);
  EXPECT_EQ(back->helper_bed, WORKER_FIRST_FD + 2);
  EXPECT_EQ(back->worker_bed, WORKER_FIRST_FD + 3);
  EXPECT_EQ(back->server_bells, (std::vector<int>{9, 10, 11}));
}

TEST(WorkerLaunchText, what_is_not_one_is_refused) {
  for (const char* text :
       {"", "{", "[]", "{}", R"({"sandbox":{}})", R"({"sandbox":{"syscalls":9,"network":0,"tier":0}})",
        R"({"sandbox":{"syscalls":0,"network":0,"tier":3}})",
        R"({"sandbox":{"syscalls":0,"network":0,"tier":0},"command":[]})",
        R"({"sandbox":{"syscalls":0,"network":0,"tier":0},"command":["/a"]})"}) {
    EXPECT_FALSE(decode_launch(text)) << text;
  }
}

TEST(SandboxReportText, the_last_line_counts) {
  SandboxReport report;
  report.steps.push_back({"seccomp", true, "82 calls"});
  const std::string good = encode_sandbox_report(report);
  ASSERT_TRUE(decode_sandbox_report(good));
  EXPECT_EQ(decode_sandbox_report(good)->steps[0].detail, "82 calls");
  const auto failed = decode_sandbox_report(good + encode_sandbox_failure({ENOENT, "execute /x: gone"}));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "execute /x: gone");
  EXPECT_EQ(failed.error().code, ENOENT);
  EXPECT_FALSE(decode_sandbox_report(""));
  EXPECT_FALSE(decode_sandbox_report(good.substr(0, 9)));
}

}  // namespace
}  // namespace penstock
