// Pools: the application pools' room of the supervisor. Carries out what each pool's PoolKeeper decides: starts and
// ends worker processes, tells servers of them, watches processes, clock, application files and memory, and says every
// event of a worker's life to the operator: cause, process, how it ended, and the requests that were inside.
//
// Owned by Supervisor, used by its thread. A pool without workers has no descriptor and no timer.
//
// Invariants:
// - A process is in processes_ as long as it is not reaped, and its keeper knows it as long.
// - What a server must be told goes through its outbox in order, so that a full channel loses nothing.
#pragma once

#include "pool/supervisor/cgroup.h"
#include "pool/supervisor/memory_reclaim.h"
#include "pool/supervisor/pool_keeper.h"
#include "pool/supervisor/watched_files.h"
#include "src/admin/death_list.h"
#include "src/admin/event_loop.h"
#include "src/admin/helper_process.h"
#include "src/admin/journal_sets.h"
#include "src/admin/json.h"
#include "src/admin/kernel_audit.h"
#include "src/admin/operator_log.h"
#include "src/admin/program_hashes.h"
#include "src/admin/role_process.h"
#include "src/admin/worker_profile.h"
#include "src/base/clock.h"
#include "src/config/tree.h"
#include "src/roles/pool_process.h"
#include "src/roles/supervisor_alarms.h"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

// What of the supervisor the room uses.
struct PoolsWorld {
  EventLoop& loop;
  OperatorLog& log;
  Clock& clock;
  const JournalSets& journals;
  const std::vector<std::unique_ptr<RoleProcess>>& roles;
  std::string executable;
  uint32_t reactors = 1;
  bool as_root = false;
  uint64_t worker_token = 0;  // the upper half of the tokens under which processes are watched
  uint64_t action_token = 0;
  uint64_t listener_token = 0;  // likewise, of their listeners
  uint64_t audit_token = 0;
  DeathList& deaths;
  Alarms& alarms;
};

class Pools {
 public:
  explicit Pools(PoolsWorld world) : world_(std::move(world)) {}

  void configure(const Settings& settings, MonoTime now);
  void server_ready(uint32_t epoch, MonoTime now);
  void server_gone(uint32_t epoch, MonoTime now);
  // POOL_NEED, WORKER_STATE, POOL_LOAD. Error: the server talks nonsense.
  [[nodiscard]] Status take_message(uint32_t epoch, const ChannelMessage& message, MonoTime now);

  void worker_event(uint32_t worker, MonoTime now);  // one of its descriptors is readable
  void action_event(uint32_t pid, MonoTime now);
  void listener_event(uint32_t worker, MonoTime now);  // calls of it wait
  void audit_event(MonoTime now);                      // the kernel tells of what it has denied
  void run_timers(MonoTime now);
  [[nodiscard]] MonoTime next_deadline() const;

  void shut_down(MonoTime now);  // once no server is left
  void kill_all();               // no more patience
  void kill_and_wait();          // a failed start
  [[nodiscard]] bool empty() const { return processes_.empty(); }

  // Asks that server's process, behind everything that it is to be told: so its answer says that it has heard that.
  // False: it is not known here.
  [[nodiscard]] bool ask(uint32_t epoch, uint32_t id, std::string question);

  // Every pool, for status.
  [[nodiscard]] Json list() const;
  [[nodiscard]] Json audit_status() const;
  // What the sandboxes of workers lack of what alarms need, each once with its reason.
  [[nodiscard]] std::vector<std::string> weaker() const;
  // `alarm test`. "": any pool that can start workers.
  [[nodiscard]] Json test_alarm(const std::string& pool, MonoTime now);
  // Answers for the control socket. `what`: start, stop or recycle; `who`: asks.
  [[nodiscard]] Json show(const std::string& pool, MonoTime now) const;
  [[nodiscard]] Json command(const std::string& what, const std::string& pool, const std::string& who, MonoTime now);

 private:
  struct Pool {
    Pool(std::string name_of, PoolRules rules, WorkerNumbers& numbers)
        : name(std::move(name_of)), keeper(std::move(rules), numbers), launch(fail("not configured")) {}
    std::string name;
    PoolKeeper keeper;
    PoolSettings settings;
    CgroupLimits limits;
    SegmentShape shape;
    Result<WorkerLaunch> launch;  // or why its workers cannot be started
    std::string identity;         // for people
    std::string state_directory;
    MonoTime deadline = MonoTime::never();
    bool configured = true;
    WatchedFiles files;  // whose change recycles
    ProgramHashes hashes;
    bool told_too_many = false;
    std::optional<uint32_t> minute_seen;  // of the day
    std::string limit_problem;
    std::string alarm_problem;  // why its workers have no listener
    std::string last_failure;
    std::map<uint32_t, uint32_t> waiting;  // requests, by epoch of the server where they do; none: 0
  };

  struct Process {
    Pool* pool = nullptr;
    PoolProcess worker;
    // What the journal is to say of its end.
    DeathOrder report = DeathOrder::NOTHING;  // by its server
    bool intruded = false;                    // it ends for what it tried
    std::vector<uint64_t> reported;           // requests that were inside then
    SandboxReport sandbox;                    // empty until it has been entered
    // Its denied calls, and the programs that it may start.
    SyscallListener listener;
    ProgramList programs;
    WorkerSyscalls syscalls{};
    uint64_t program = 0;                       // the runtime's record
    uint32_t denied_in_round = 0;               // of its calls
    MonoTime listened_at;                       // when the round began
    MonoTime listen_again = MonoTime::never();  // where it has used up its share
    bool noted = false;
    // While its memory is taken back.
    std::optional<MemoryReclaim> reclaim;
    uint64_t memory_before = 0;
    MonoTime reclaim_again = MonoTime::never();
  };

  struct Outgoing {
    MessageKind kind{};
    uint64_t worker = 0;  // WORKER: made when it is sent
    std::string payload;
    uint32_t id = 0;  // of a question
  };

  // A running orphan.action.
  struct Action {
    HelperProcess process;
    MonoTime deadline;
    std::string what;
    bool killed = false;
  };

  [[nodiscard]] PoolRules rules_of(const PoolSettings& settings, const Result<WorkerLaunch>& launch,
                                   const SegmentShape& shape) const;
  void configure_one(const Settings& settings, const PoolSettings& one, const PoolIds& ids, MonoTime now);
  [[nodiscard]] Status make_state_directory(const Pool& pool) const;
  void run(Pool& pool, MonoTime now);
  void obey(Pool& pool, const PoolOrder& order, MonoTime now);
  void start_worker(Pool& pool, uint64_t worker, MonoTime now);
  [[nodiscard]] Status check_program(Pool& pool, uint64_t worker, MonoTime now);
  void signal_worker(uint64_t worker, int number);
  void signal_all_of(uint64_t worker, int number);
  void begin_reclaim(uint64_t worker, MonoTime now);
  void end_reclaim(uint64_t worker);
  void go_on_reclaiming(uint64_t number, Process& process, MonoTime now);
  void log_event(const Pool& pool, const PoolOrder& order, MonoTime now);
  void act(Pool& pool, const PoolOrder& order, MonoTime now);
  [[nodiscard]] std::string who(const Pool& pool, uint64_t worker) const;
  [[nodiscard]] std::vector<InFlightRequest> requests_inside(uint64_t worker) const;

  // supervisor_intrusions.cc
  void listen(uint64_t number, Process& process);
  void stop_listening(Process& process);
  void take_calls(uint64_t number, Process& process, MonoTime now);
  bool take_call(uint64_t number, Process& process, const WaitingCall& call, MonoTime now);
  void book_unseen(uint64_t number, const Process& process, MonoTime now);
  void book_program(uint64_t number, const Process& process, const WaitingCall& call, const WorkerAttempt& attempt,
                    MonoTime now);
  void answer_denied(uint64_t number, Process& process, const WaitingCall& call, const WorkerAttempt& attempt,
                     MonoTime now);

  // supervisor_denials.cc
  void configure_audit(const Settings& settings);
  void close_audit();
  void take_denials(MonoTime now);
  void book_denial(AccessDenial denial, MonoTime now);
  void identify(AccessDenial& denial, MonoTime now);
  void audit_timers(MonoTime now);
  [[nodiscard]] MonoTime audit_deadline() const;
  [[nodiscard]] std::string audit_lack() const;

  // supervisor_deaths.cc
  void note_report(const WorkerReport& report);
  void note_end(uint64_t number, Process& process, const RoleExit& end, const std::string& how, bool out_of_memory,
                MonoTime now);
  void note_frozen(uint64_t number, const std::string& how, MonoTime now);
  void note(uint64_t number, Process& process, Death death, MonoTime now);

  void read_output(uint64_t number, Process& process, MonoTime now);
  void read_report(uint64_t number, Process& process);
  void reap(uint64_t number, MonoTime now);
  [[nodiscard]] std::string core_of(const Pool& pool, const WorkerProcess& process, int signal) const;

  void tell_server(uint32_t epoch, Outgoing message);
  void flush(uint32_t epoch, std::deque<Outgoing>& outbox);
  void take_report(uint32_t epoch, WorkerReport report, MonoTime now);
  [[nodiscard]] RoleProcess* server(uint32_t epoch) const;

  void end_slow_actions(MonoTime now);
  void look_around(MonoTime now);
  void look_at_files(Pool& pool, MonoTime now);
  void look_at_clock(Pool& pool, MonoTime now);

  [[nodiscard]] Pool* find(const std::string& name) const;
  [[nodiscard]] Pool* pool_of(uint32_t epoch, uint64_t worker) const;
  [[nodiscard]] Json pool_json(const Pool& pool) const;
  [[nodiscard]] Json worker_json(uint64_t number, const PoolKeeper::Worker& worker, MonoTime now) const;

  PoolsWorld world_;
  WorkerNumbers numbers_;
  std::map<std::string, std::unique_ptr<Pool>> pools_;
  std::map<uint64_t, Process> processes_;
  std::map<uint32_t, std::deque<Outgoing>> outboxes_;  // by epoch of a living server
  std::vector<Action> actions_;
  std::optional<CgroupTree> cgroups_;  // once a pool has limits
  std::optional<KernelAudit> audit_;   // what Landlock denies
  AuditSetting audit_wanted_ = AuditSetting::OFF;
  std::string audit_problem_;
  MonoTime audit_again_ = MonoTime::never();  // where its share of a round is used up
  MonoTime look_at_ = MonoTime::never();      // the next look around, while there are workers
  MonoTime flushed_;
  uint32_t current_ = 0;  // epoch of the current server; 0: none
  bool down_ = false;
};

}  // namespace penstock
