// Alarms: the alarms' room of the supervisor: the books of what was tried and of which programs ran, the operator's
// log, and alarm.exec.
//
// Owned by Supervisor, used by its thread. Told by Pools what happened in workers; tells nobody back. Nothing here
// waits for alarm.exec: it runs as a process of its own (src/roles/alarm_command.h), a few at a time, from a bounded
// queue, and what was not told is said in the log, in the book and in `status`.
#pragma once

#include "src/admin/alarm_book.h"
#include "src/admin/alarm_queue.h"
#include "src/admin/event_loop.h"
#include "src/admin/helper_process.h"
#include "src/admin/journal_sets.h"
#include "src/admin/json.h"
#include "src/admin/operator_log.h"
#include "src/admin/program_book.h"
#include "src/admin/role_process.h"
#include "src/admin/worker_attempt.h"
#include "src/base/clock.h"
#include "src/config/settings.h"
#include "src/roles/pool_process.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace penstock {

// What of the supervisor the room uses. Tokens: the upper halves of those under which its descriptors are watched.
struct AlarmsWorld {
  EventLoop& loop;
  OperatorLog& log;
  Clock& clock;
  const JournalSets& journals;
  const std::vector<std::unique_ptr<RoleProcess>>& roles;
  std::string executable;
  bool as_root = false;
  uint64_t program_token = 0;  // with a program's number
  uint64_t command_token = 0;  // with a process id
  uint64_t test_token = 0;     // with a test's number
};

class Alarms {
 public:
  explicit Alarms(AlarmsWorld world) : world_(std::move(world)) {}

  void configure(const Settings& settings);
  [[nodiscard]] bool learning() const { return learn_; }

  // Books it; where it is the first of its kind, adds the requests that are inside of its worker, logs it and queues it
  // for alarm.exec. `alarm`: kind, pool, worker, pid, uid, what, detail and action. Its number; 0: it was only counted.
  uint64_t raise(Alarm alarm, MonoTime now);

  // A program begins: pool, worker, pid, parent, uid, path and asked. `process`: by whose pidfd its end is seen here;
  // invalid: program_ended() tells it. Its number; 0: not followed.
  uint64_t program_started(ProgramRecord record, UniqueFd process, MonoTime now);
  void program_ended(uint64_t number, const std::string& how, MonoTime now);
  // To every program that the worker has started and that still runs.
  void signal_programs(uint64_t worker, int number);
  [[nodiscard]] std::vector<InFlightRequest> requests_inside(uint64_t worker) const;
  // And what has left since then, for what is heard of late.
  [[nodiscard]] std::vector<InFlightRequest> requests_inside_since(uint64_t worker, MonoTime since) const;
  // The worker that has started the program which this process runs; 0: none is known to.
  [[nodiscard]] uint64_t worker_of(pid_t program);

  void program_event(uint32_t program, MonoTime now);
  void command_event(uint32_t pid, MonoTime now);
  void run_timers(MonoTime now);
  [[nodiscard]] MonoTime next_deadline() const;
  void kill_all();  // penstock ends

  // supervisor_alarm_test.cc: a process inside the sandbox of a pool tries to start a program that is not on its list.
  // Its number, by which test_json() tells how far it is. Error: it cannot be made.
  [[nodiscard]] Result<uint64_t> start_test(const std::string& pool, WorkerLaunch launch, MonoTime now);
  void test_event(uint32_t test, MonoTime now);
  [[nodiscard]] Json test_json(uint64_t test) const;

  [[nodiscard]] Json list(std::string_view pool) const { return book_.json(pool); }
  [[nodiscard]] Json programs(std::string_view pool, MonoTime now) const { return programs_.json(pool, now); }
  [[nodiscard]] Json running(Duration older, MonoTime now) const { return programs_.running_json(older, now); }
  [[nodiscard]] Duration age_limit() const { return age_; }
  [[nodiscard]] Json status() const;

 private:
  struct Running {  // an alarm.exec
    HelperProcess process;
    AlarmQueue::Delivery delivery;
    MonoTime started, deadline;
    bool killed = false;
  };
  struct Test {
    std::string pool, path;
    WorkerSyscalls syscalls{};
    ProgramList list;
    std::optional<PoolProcess> process;
    SyscallListener listener;
    MonoTime started, deadline;
    uint64_t alarm = 0;  // that came of it
    int64_t noticed_us = 0, told_us = 0;
    std::string problem;  // why there will be none
  };

  void say(const Alarm& alarm, MonoTime now);
  void deliver(Alarm& alarm, MonoTime now);
  void run_due(MonoTime now);
  void start_command(AlarmQueue::Delivery delivery, MonoTime now);
  void settle(AlarmQueue::Delivery delivery, const std::string& how, bool succeeded, Duration took, MonoTime now);
  void end_slow(MonoTime now);
  bool end_command(size_t index, MonoTime now);  // false: it runs on
  void look_at_ages(MonoTime now);
  void note_told(uint64_t alarm, MonoTime now);
  void end_test(Test& test, const std::string& problem);
  void test_timers(MonoTime now);

  AlarmsWorld world_;
  std::string exec_;
  std::string user_;
  Duration timeout_ = seconds(10), repeat_ = seconds(600), age_;
  bool learn_ = false;
  AlarmBook book_;
  ProgramBook programs_;
  AlarmQueue queue_;
  std::vector<Running> running_;
  std::map<uint64_t, UniqueFd> followed_;  // pidfds by program
  MonoTime look_at_ = MonoTime::never();
  std::set<std::pair<uint32_t, uint64_t>> aged_requests_;  // reactor and number: told
  std::set<uint64_t> aged_programs_;
  std::map<uint64_t, Test> tests_;  // the last few
  uint64_t next_test_ = 1;
};

}  // namespace penstock
