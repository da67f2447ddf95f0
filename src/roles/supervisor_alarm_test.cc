// `penstock alarm test`: a process inside the sandbox of a pool tries a forbidden start. From the try on it is the way
// of every alarm: the filter's listener, the judgement, the book, the log, alarm.exec.
#include "src/admin/program_path.h"
#include "src/roles/supervisor_alarms.h"

#include <cerrno>
#include <csignal>
#include <utility>

namespace penstock {
namespace {

constexpr size_t TESTS_KEPT = 16;
constexpr Duration TEST_TIMEOUT = seconds(10);  // for the process; alarm.exec has its own

// A program that the pool may not start. "": it may start all of these.
std::string forbidden_program(const ProgramList& list, const std::string& executable) {
  std::vector<std::string> candidates = {"/bin/sh", "/bin/true"};
  if (const auto own = program_path(executable, "penstock-init")) candidates.push_back(*own);
  for (const std::string& path : candidates) {
    const ProgramList one = ProgramList::of({path});
    if (!one.entries().empty() && !list.covers(one.entries().front().file)) return path;
  }
  return {};
}

}  // namespace

Result<uint64_t> Alarms::start_test(const std::string& pool, WorkerLaunch launch, MonoTime now) {
  const auto intruder = program_path(world_.executable, "penstock-intruder");
  if (!intruder) return std::unexpected(intruder.error());
  Test test;
  test.pool = pool;
  test.syscalls = launch.sandbox.syscalls;
  test.list = ProgramList::of(launch.sandbox.execute_paths);
  test.path = forbidden_program(test.list, world_.executable);
  if (test.path.empty()) return fail("pool " + pool + " may start every program that a test could try");
  launch.command = {*intruder, test.path};
  launch.sandbox.execute_paths.push_back(*intruder);
  launch.sandbox.listener = true;
  auto process = PoolProcess::start(world_.executable, std::move(launch), SegmentShape{}, now);
  if (!process) return std::unexpected(process.error());
  test.process.emplace(std::move(*process));
  test.started = world_.clock.now();
  test.deadline = now + TEST_TIMEOUT;
  const uint64_t number = next_test_++;
  const uint64_t token = world_.test_token | static_cast<uint32_t>(number);
  Status ok = world_.loop.watch(test.process->process.pidfd(), token);
  if (ok) ok = world_.loop.watch(test.process->process.report_fd(), token);
  if (!ok) {
    test.process->process.kill_and_wait();
    return std::unexpected(ok.error());
  }
  test.process->report_watched = true;
  while (tests_.size() >= TESTS_KEPT) {
    end_test(tests_.begin()->second, "another test took its place");
    tests_.erase(tests_.begin());
  }
  tests_.emplace(number, std::move(test));
  return number;
}

void Alarms::test_event(uint32_t number, MonoTime now) {
  const auto it = tests_.find(number);
  if (it == tests_.end() || !it->second.process) return;
  Test& test = it->second;
  WorkerProcess& process = test.process->process;
  if (test.process->report_watched) {
    if (const auto report = process.take_report()) {
      world_.loop.unwatch(process.report_fd());
      test.process->report_watched = false;
      if (!*report) return end_test(test, "it could not become a worker: " + report->error().message);
      test.listener = process.take_listener();
      if (!test.listener.open()) return end_test(test, "the kernel gives workers no listener");
      if (!world_.loop.watch(test.listener.fd(), world_.test_token | number)) return end_test(test, "no watch");
    }
  }
  while (const auto call = test.listener.next()) {
    const auto attempt = look_at_call(test.listener, *call, test.list, test.syscalls);
    if (!attempt) continue;
    if (attempt->verdict == WorkerAttempt::Verdict::DENIED && test.alarm == 0) {
      test.noticed_us = (world_.clock.now() - test.started).us();
      Alarm alarm;
      alarm.kind = AlarmKind::TEST;
      alarm.pool = test.pool;
      alarm.pid = attempt->origin.process;
      alarm.uid = attempt->origin.uid;
      alarm.what = attempt->what;
      alarm.detail = "penstock alarm test";
      alarm.action = "refused";
      test.alarm = raise(std::move(alarm), now);
    }
    test.listener.refuse(*call, EPERM);
  }
  const auto end = process.reap();
  if (!end) return;
  end_test(test, test.alarm == 0 ? "the process " + end->text() + " and nothing was noticed" : "");
}

void Alarms::end_test(Test& test, const std::string& problem) {
  if (!test.process) return;
  WorkerProcess& process = test.process->process;
  if (test.process->report_watched) world_.loop.unwatch(process.report_fd());
  world_.loop.unwatch(process.pidfd());
  if (test.listener.open()) world_.loop.unwatch(test.listener.fd());
  process.kill_and_wait();
  test.listener.close();
  test.process.reset();
  test.problem = problem;
}

void Alarms::test_timers(MonoTime now) {
  for (auto& [number, test] : tests_) {
    if (test.process && test.deadline <= now) end_test(test, "the process has not ended in time");
  }
}

void Alarms::note_told(uint64_t alarm, MonoTime) {
  for (auto& [number, test] : tests_) {
    if (test.alarm == alarm) test.told_us = (world_.clock.now() - test.started).us();
  }
}

Json Alarms::test_json(uint64_t number) const {
  const auto it = tests_.find(number);
  if (it == tests_.end()) return {{"ok", false}, {"error", "no such test"}};
  const Test& test = it->second;
  Json out = {{"ok", true},
              {"test", number},
              {"pool", test.pool},
              {"path", test.path},
              {"alarm", test.alarm},
              {"running", test.process.has_value()},
              {"noticed_us", test.noticed_us},
              {"told_us", test.told_us},
              {"problem", test.problem}};
  for (const Alarm& alarm : book_.alarms()) {
    if (alarm.number == test.alarm) out["delivery"] = alarm.delivery;
  }
  return out;
}

}  // namespace penstock
