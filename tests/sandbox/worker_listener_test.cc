// Workers whose denied calls and starts of programs wait for the supervisor: real processes, answered by the test.
#include "pool/ring/segment.h"
#include "pool/sandbox/program_list.h"
#include "pool/sandbox/program_start.h"
#include "src/admin/worker_process.h"
#include "src/base/doorbell.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock::test {
namespace {

constexpr uid_t LISTENED = 1'900'000'001;

bool readable(int fd) {
  pollfd waits{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&waits, 1, 20'000) == 1 && (waits.revents & POLLIN) != 0;
}

class WorkerListener : public testing::Test {
 protected:
  WorkerListener() {
    char name[] = "/var/tmp/penstock-listener-XXXXXX";
    state_ = ::mkdtemp(name) != nullptr ? name : "";
    ::chmod(state_.c_str(), 0777);
  }
  ~WorkerListener() override {
    if (process_) process_->kill_and_wait();
    std::filesystem::remove_all(state_);
  }

  // Runs worker_try with `attempt`, or `command`.
  void start(const std::string& attempt, WorkerSyscalls syscalls, std::vector<std::string> command = {}) {
    WorkerLaunch launch;
    launch.pool = "test";
    launch.command = command.empty() ? std::vector<std::string>{WORKER_TRY, attempt} : std::move(command);
    launch.environment = {"PATH=/nowhere:/usr/bin:/bin", "TRY_STATE=" + state_,
                          std::string("TRY_PROGRAM=") + WORKER_TRY};
    WorkerSandbox& sandbox = launch.sandbox;
    if (::geteuid() == 0) sandbox.identity = SandboxIdentity{LISTENED, LISTENED};
    sandbox.syscalls = syscalls;
    sandbox.write_paths = {state_};
    sandbox.execute_paths = {launch.command[0], WORKER_TRY, "/usr/bin/true"};
    sandbox.listener = true;
    list_ = ProgramList::of(sandbox.execute_paths);
    launch.server_half = memory_.server_half.get();
    launch.worker_half = memory_.worker_half.get();
    launch.helper_bed = launch.worker_bed = bed_.get();
    launch.server_bells = {bell_.get()};
    auto spawned = WorkerProcess::spawn(PENSTOCK_BINARY, launch, MonoTime{});
    ASSERT_TRUE(spawned) << spawned.error().message;
    process_.emplace(std::move(*spawned));
    std::optional<Result<SandboxReport>> report;
    while (!report && readable(process_->report_fd())) report = process_->take_report();
    ASSERT_TRUE(report && *report) << (report ? report->error().message : "no report");
    report_ = **report;
    listener_ = process_->take_listener();
  }
  WaitingCall next_call() {
    EXPECT_TRUE(readable(listener_.fd()));
    const auto call = listener_.next();
    EXPECT_TRUE(call.has_value());
    return call.value_or(WaitingCall{});
  }
  ProgramList::Verdict judge(const WaitingCall& call) {
    start_ = read_program_start(call);
    return list_.judge(start_, culprit_);
  }
  RoleExit end() {
    while (readable(process_->pidfd())) {
      if (const auto end = process_->reap()) return *end;
    }
    return {};
  }

  std::string state_, culprit_;
  SegmentMemory memory_ = create_segment({}).value();
  UniqueFd bed_ = make_bed().value();
  UniqueFd bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::optional<WorkerProcess> process_;
  SandboxReport report_;
  SyscallListener listener_;
  ProgramList list_;
  ProgramStart start_;
};

TEST_F(WorkerListener, a_denied_call_is_named_with_its_process_and_refused) {
  for (const WorkerSyscalls syscalls : {WorkerSyscalls::COMPUTE, WorkerSyscalls::FULL}) {
    ASSERT_NO_FATAL_FAILURE(start("keyctl", syscalls));
    ASSERT_TRUE(listener_.open());
    const WaitingCall call = next_call();
    EXPECT_EQ(syscall_name(call), "keyctl");
    EXPECT_FALSE(starts_program(call));
    const auto origin = read_origin(call.thread);
    ASSERT_TRUE(origin);
    EXPECT_EQ(origin->process, process_->pid());
    EXPECT_EQ(origin->uid, ::geteuid() == 0 ? LISTENED : ::geteuid());
    EXPECT_TRUE(listener_.waits(call));
    listener_.refuse(call, EPERM);
    EXPECT_EQ(end().code, EPERM);
  }
}

TEST_F(WorkerListener, one_that_is_killed_while_it_waits_is_forgotten) {
  ASSERT_NO_FATAL_FAILURE(start("mount", WorkerSyscalls::COMPUTE));
  const WaitingCall call = next_call();
  process_->signal(SIGKILL);
  EXPECT_EQ(end().signal, SIGKILL);
  EXPECT_FALSE(listener_.waits(call));
  listener_.refuse(call, EPERM);
  EXPECT_FALSE(listener_.next());
}

TEST_F(WorkerListener, a_shell_is_no_program_of_the_list) {
  for (const WorkerSyscalls syscalls : {WorkerSyscalls::COMPUTE, WorkerSyscalls::PROCESS}) {
    ASSERT_NO_FATAL_FAILURE(start("execute_shell", syscalls));
    const WaitingCall call = next_call();
    ASSERT_TRUE(starts_program(call));
    EXPECT_EQ(judge(call), ProgramList::Verdict::NOT_LISTED);
    EXPECT_EQ(start_.asked, "/bin/sh");
    EXPECT_EQ(culprit_, std::filesystem::canonical("/bin/sh"));
    listener_.refuse(call, EPERM);
    EXPECT_EQ(end().code, EPERM);
  }
}

// Whoever lies about the path, or changes it after it was read, gains nothing: Landlock decides again.
TEST_F(WorkerListener, going_on_grants_nothing_that_landlock_denies) {
  ASSERT_NO_FATAL_FAILURE(start("execute_shell", WorkerSyscalls::PROCESS));
  listener_.go_on(next_call());
  EXPECT_EQ(end().code, EACCES);
}

TEST_F(WorkerListener, a_program_of_the_list_is_started) {
  ASSERT_NO_FATAL_FAILURE(start("execute_itself_again", WorkerSyscalls::PROCESS));
  const WaitingCall call = next_call();
  EXPECT_EQ(judge(call), ProgramList::Verdict::LISTED);
  ASSERT_TRUE(start_.file);
  EXPECT_EQ(start_.file->path, std::filesystem::canonical(WORKER_TRY));
  listener_.go_on(call);
  EXPECT_TRUE(end().clean);
}

TEST_F(WorkerListener, a_dropped_file_and_a_descriptor_are_seen_through) {
  ASSERT_NO_FATAL_FAILURE(start("execute_dropped_file", WorkerSyscalls::PROCESS));
  WaitingCall call = next_call();
  EXPECT_EQ(judge(call), ProgramList::Verdict::NOT_LISTED);
  EXPECT_EQ(culprit_, state_ + "/dropped");
  listener_.refuse(call, EPERM);
  EXPECT_EQ(end().code, EPERM);

  ASSERT_NO_FATAL_FAILURE(start("fexecve", WorkerSyscalls::PROCESS));
  call = next_call();
  EXPECT_EQ(syscall_name(call), "execveat");
  EXPECT_EQ(judge(call), ProgramList::Verdict::LISTED);
  EXPECT_EQ(start_.file->path, std::filesystem::canonical(WORKER_TRY));
  listener_.refuse(call, EPERM);
  EXPECT_EQ(end().code, EPERM);
}

// A search along PATH tries names that are not there, and a script is its interpreter, too.
TEST_F(WorkerListener, what_is_not_there_is_no_attempt_and_a_script_is_judged_with_its_interpreter) {
  const std::string script = state_ + "/script";
  const std::string text = "#! /usr/bin/env sh\nexit 0\n";
  FILE* const file = ::fopen(script.c_str(), "w");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(::fwrite(text.data(), 1, text.size(), file), text.size());
  ::fclose(file);
  ::chmod(script.c_str(), 0755);
  ASSERT_NO_FATAL_FAILURE(
      start("", WorkerSyscalls::PROCESS, {"/bin/sh", "-c", "true; nowhere; /usr/bin/true; " + script}));
  list_ = ProgramList::of({"/usr/bin/true", script});
  bool missing = false;
  bool listed = false;
  for (;;) {
    const WaitingCall call = next_call();
    ASSERT_TRUE(starts_program(call));
    const auto verdict = judge(call);
    if (start_.asked == script) {
      EXPECT_EQ(verdict, ProgramList::Verdict::NOT_LISTED);
      EXPECT_EQ(culprit_, std::filesystem::canonical("/usr/bin/env"));
      listener_.refuse(call, EPERM);
      break;
    }
    missing |= verdict == ProgramList::Verdict::NO_PROGRAM && start_.error == ENOENT;
    listed |= verdict == ProgramList::Verdict::LISTED && start_.asked == "/usr/bin/true";
    verdict == ProgramList::Verdict::NO_PROGRAM ? listener_.refuse(call, start_.error) : listener_.go_on(call);
  }
  EXPECT_TRUE(missing || listed);
  EXPECT_TRUE(listed);
  EXPECT_FALSE(end().clean);
}

TEST_F(WorkerListener, the_report_says_that_the_supervisor_is_asked) {
  ASSERT_NO_FATAL_FAILURE(start("again", WorkerSyscalls::COMPUTE));
  const auto alarms = std::ranges::find(report_.steps, "alarms", &SandboxStep::name);
  ASSERT_NE(alarms, report_.steps.end());
  EXPECT_TRUE(alarms->holds) << alarms->detail;
  EXPECT_TRUE(end().clean);
}

}  // namespace
}  // namespace penstock::test
