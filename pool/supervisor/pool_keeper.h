// PoolKeeper: the life of one application pool's worker processes, as decisions. Pure: no system call, no clock.
//
// The shell around it (src/roles/supervisor_pools.h) tells it what happened, with the time, and carries out the orders
// that it gives: take_orders() after every call, until there are none. next_deadline() says when tick() is due.
//
// A worker's life:
//
//    START ── STARTING ── ready ── READY ── RETIRE ── RETIRING ── idle ── (leaves by itself) ── ended
//                │                   │                    │ too long             │ does not leave
//                │ too long          │ overdue ───────────┴──► ENDING (SIGTERM) ◄┘
//                ▼                   │ silent, broke                │ still there
//              KILLED (SIGKILL) ◄────┴──────────────────────────────┘
//                ▲                   │ silent, and orphans are wanted
//                └─ orphan.ttl ── FROZEN
//
// With idle_action = suspend, a READY worker that is idle becomes SUSPENDING (its server gives it nothing more) and,
// once its server says that it rests, SUSPENDED: stopped, its memory taken back as far as that goes. A need makes it
// READY again before any other is started. Whatever ends or replaces a worker ends a suspended one, too, without a
// replacement: nobody asks for it.
//
// What it promises:
// - A worker that is replaced serves until its replacement is ready (recycle.overlap), and when the replacement fails
//   it goes on serving: a bad configuration or a broken application file never takes a running pool down.
// - At most workers_max workers take requests of the current server; replacements under way come on top.
// - It counts as a failure when a worker ends without having been asked to, is not ready and warmed up in time, fails
//   in its warm-up, hangs or breaks the protocol. A request that takes too long is not: its worker is ended and
//   replaced, the pool stays in service. Nor is a worker that has served and leaves with exit code 0, or because such
//   requests hold all its places.
// - Out of service by rapid-fail protection: every rapid_fail.probe one worker is tried; once ready the pool serves
//   with it alone, and the first request that it has served ends the trial.
#pragma once

#include "pool/supervisor/crash_record.h"
#include "src/base/time.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace penstock {

// What pool.NAME.* says about the life of its workers, in its words; 0 switches a limit off where the schema says so.
struct PoolRules {
  uint32_t workers_min = 0;
  uint32_t workers_max = 1;
  Duration scale_delay = milliseconds(100);
  Duration idle_timeout = seconds(20 * 60);
  uint32_t idle_memory = 0;   // percent of the machine's memory; 0: idle_timeout holds whatever is in use
  bool idle_suspend = false;  // idle_action: suspend; else terminate
  Duration start_timeout = seconds(90);
  Duration stop_timeout = seconds(90);
  Duration recycle_time;
  uint64_t recycle_requests = 0;
  uint64_t recycle_memory = 0;
  uint32_t recycle_cpu = 0;  // percent of one core, over:
  Duration recycle_cpu_window = seconds(300);
  bool recycle_overlap = true;
  bool rapid_fail_enable = true;
  uint32_t rapid_fail_crashes = 5;
  Duration rapid_fail_window = seconds(300);
  Duration rapid_fail_probe = seconds(30);
  bool orphan_enable = false;
  Duration orphan_ttl = seconds(600);
  uint32_t orphan_max = 1;
  // Everything that a worker is started with, in one text: workers started with another one are replaced.
  std::string recipe;
};

struct PoolOrder {
  enum class Kind : uint8_t {
    START,    // start process `worker`; answer spawned() or start_failed()
    GIVE,     // tell server `server` of it (WORKER)
    RETIRE,   // tell server `server` to give it nothing more (WORKER_RETIRE), because of `text`
    GONE,     // tell server `server` to forget it (WORKER_GONE), because of `text`
    SIGNAL,   // send it `signal`
    FREEZE,   // stop all its processes where they are
    THAW,     // let them go on; what RECLAIM has begun ends
    RECLAIM,  // take their memory back
    SUSPEND,  // tell server `server` to give it nothing until RESUME (WORKER_SUSPEND)
    RESUME,   // tell server `server` to give it requests again (WORKER_RESUME)
    ACT,      // run orphan.action for it
    STATE,    // tell every server the pool's state()
    LOG,      // a line for the operator, about `worker` unless that is 0; `serials`: the requests inside
  } kind = Kind::LOG;
  enum class Severity : uint8_t { NOTICE, WARNING, ERROR } severity = Severity::NOTICE;
  uint64_t worker = 0;
  uint32_t server = 0;
  int signal = 0;
  std::string text;
  std::vector<uint64_t> serials;
};

// How a process ended, as the shell saw it.
struct WorkerEnd {
  bool clean = false;  // exit code 0
  std::string text;    // "was killed by SIGSEGV"
  // Exit code PENSTOCK_EXIT_OVERRUN (pool/sdk): requests that were given up hold all the places that it has.
  bool overran = false;
};

// The numbers of workers: never one twice while the supervisor lives. Shared by all pools.
class WorkerNumbers {
 public:
  uint64_t take() { return ++last_; }

 private:
  uint64_t last_ = 0;
};

class PoolKeeper {
 public:
  enum class State : uint8_t { SERVING, STOPPED, FAILED };  // what servers are told
  enum class WorkerState : uint8_t { STARTING, READY, RETIRING, ENDING, KILLED, FROZEN, SUSPENDING, SUSPENDED };

  static constexpr Duration TERM_GRACE = seconds(1);            // from SIGTERM to SIGKILL
  static constexpr Duration OVERDUE_GRACE = milliseconds(100);  // the same, where a request takes too long
  static constexpr Duration LEAVE_GRACE = seconds(5);           // from the last request to the end of a retired one
  static constexpr Duration BUSY_LATELY = seconds(10);          // who worked so lately is missed by a new server
  static constexpr Duration REST_PATIENCE = seconds(5);         // for a server to say that a worker rests
  static constexpr Duration AWAKE_LEAST = seconds(1);           // from one suspension of a worker to the next

  struct Worker {
    uint32_t server = 0;  // that has it: its epoch; 0: none yet
    uint32_t version = 0;
    WorkerState state = WorkerState::STARTING;
    bool spawned = false;
    bool given = false;  // its server knows it
    bool failure_counted = false;
    bool replaced_after = false;  // recycle.overlap = 0: its replacement starts when it has ended
    uint64_t successor = 0;       // under way to replace it
    uint64_t predecessor = 0;     // that it is to replace
    MonoTime started, ready_at, idle_since;
    MonoTime woken_at;                      // SUSPENDING and SUSPENDED until then
    MonoTime suspended_at;                  // SUSPENDED since
    MonoTime deadline = MonoTime::never();  // of its state
    uint64_t served = 0;
    uint64_t served_before = 0;  // for servers that have gone
    bool empty = false;          // RETIRING: nothing is inside any more
    uint64_t memory = 0;
    MonoTime cpu_since;   // the window began
    Duration cpu_before;  // what it had used by then
    Duration cpu;         // what it has in it
    uint32_t inside = 0;
    std::string doing;          // STARTING: what of its warm-up
    std::string cause;          // why it was started
    std::string recycle_cause;  // why it is to be replaced; "" while it is not
    std::string end_cause;      // why it is being ended; "" while it is not
    std::vector<uint64_t> serials;
  };

  PoolKeeper(PoolRules rules, WorkerNumbers& numbers) : numbers_(numbers), rules_(std::move(rules)) {}

  // --- what happened. Workers that are not known (any more) are ignored.
  void configure(PoolRules rules, MonoTime now);    // also takes a removed pool up again
  void remove(MonoTime now);                        // out of the configuration: ends all; empty() says when
  void shut_down(MonoTime now);                     // penstock stops, and its servers have gone
  void server_ready(uint32_t epoch, MonoTime now);  // from now on the current one; an older one may still drain
  void server_gone(uint32_t epoch, MonoTime now);   // its process has ended
  void spawned(uint64_t worker, MonoTime now);
  void start_failed(uint64_t worker, const std::string& why, MonoTime now);
  void ended(uint64_t worker, const WorkerEnd& end, MonoTime now);
  void memory_seen(uint64_t worker, uint64_t bytes, MonoTime now);
  void memory_used(uint32_t percent, MonoTime now);             // of the machine, by everybody
  void cpu_seen(uint64_t worker, Duration used, MonoTime now);  // since its start
  void recycle(const std::string& cause, MonoTime now);         // command, schedule, changed file
  void start(MonoTime now);                                     // command: in service again, with a clean record
  void stop(const std::string& cause, MonoTime now);            // command
  void tick(MonoTime now);
  // Reported by server `epoch`.
  void need(uint32_t epoch, uint32_t waiting, Duration oldest, MonoTime now);
  void warming(uint64_t worker, const std::string& what);            // a request of its warm-up begins
  void cold(uint64_t worker, const std::string& why, MonoTime now);  // one has failed: so has its start
  void ready(uint64_t worker, MonoTime now);                         // warmed up, too
  void idle(uint64_t worker, MonoTime now);
  void rests(uint64_t worker, MonoTime now);  // SUSPENDING: nothing is inside, and nothing comes
  void broke(uint64_t worker, const std::string& how, std::vector<uint64_t> serials, MonoTime now);
  void overdue(uint64_t worker, std::vector<uint64_t> serials, MonoTime now, const std::string& what = {});
  void silent(uint64_t worker, std::vector<uint64_t> serials, MonoTime now);
  // It tried what its sandbox forbids, or a program that it started did: it is killed, or frozen as an orphan (within
  // orphan.max, whether or not orphans are enabled for hangs). `how`: "tried to …". False: it is not known any more.
  bool intruded(uint64_t worker, const std::string& how, bool freeze, MonoTime now);
  void load(uint64_t worker, uint64_t served, uint32_t inside, Duration idle, MonoTime now);

  // --- what to do
  [[nodiscard]] std::vector<PoolOrder> take_orders();
  [[nodiscard]] MonoTime next_deadline(MonoTime now) const;  // never before `now`

  // --- what is
  [[nodiscard]] State state() const;
  [[nodiscard]] const std::string& state_cause() const { return state_cause_; }
  [[nodiscard]] bool trial() const { return circuit_ == Circuit::TRIAL; }
  [[nodiscard]] bool empty() const { return workers_.empty(); }
  [[nodiscard]] const std::map<uint64_t, Worker>& workers() const { return workers_; }
  [[nodiscard]] const PoolRules& rules() const { return rules_; }
  [[nodiscard]] uint64_t crashes() const { return crashes_total_; }
  [[nodiscard]] uint64_t recycled() const { return recycled_total_; }
  [[nodiscard]] uint64_t started_total() const { return started_total_; }

 private:
  enum class Circuit : uint8_t { CLOSED, OPEN, TRIAL };

  [[nodiscard]] bool wanted() const { return !stopped_ && !removed_ && !down_; }
  [[nodiscard]] bool in_service() const { return wanted() && circuit_ != Circuit::OPEN; }
  [[nodiscard]] uint32_t workers_most() const { return circuit_ == Circuit::CLOSED ? rules_.workers_max : 1; }
  [[nodiscard]] uint32_t workers_least() const;
  [[nodiscard]] bool takes_part(const Worker& worker, uint32_t server) const;
  [[nodiscard]] uint32_t active(uint32_t server) const;
  [[nodiscard]] uint32_t starting(uint32_t server) const;
  [[nodiscard]] uint32_t replacements() const;
  [[nodiscard]] uint32_t suspended(uint32_t server) const;
  [[nodiscard]] bool sleeps_for(const Worker& worker, uint32_t server) const;
  [[nodiscard]] Worker* find(uint64_t worker);

  void order(PoolOrder::Kind kind, uint64_t worker, std::string text = {});
  void say(PoolOrder::Severity severity, uint64_t worker, std::string text, std::vector<uint64_t> serials = {});
  void tell_state(const std::string& cause);
  uint64_t start_worker(const std::string& cause, uint32_t server, uint64_t predecessor, MonoTime now);
  void add_worker(const std::string& cause, uint32_t server, MonoTime now);
  void suspend(uint64_t number, Worker& worker, MonoTime now);
  void resume(uint64_t number, Worker& worker, const std::string& cause, MonoTime now);
  [[nodiscard]] bool wake_one(const std::string& cause, uint32_t server, MonoTime now);
  void end_suspended(MonoTime now);
  void retire(uint64_t number, Worker& worker, const std::string& cause, MonoTime now);
  void terminate(uint64_t number, Worker& worker, const std::string& cause, Duration grace, MonoTime now);
  void kill(uint64_t number, Worker& worker, const std::string& cause);
  [[nodiscard]] bool room_for_orphan() const;
  void freeze(uint64_t number, Worker& worker, const std::string& how, const std::string& cause, MonoTime now);
  void leave_service(const std::string& cause, MonoTime now);
  void failed(Worker& worker, MonoTime now);
  void open_circuit(const std::string& cause, MonoTime now);
  void take_up(uint64_t number, Worker& worker, MonoTime now);
  void unlink(Worker& worker);
  void owe(const Worker& lost);
  void say_end(uint64_t number, const Worker& worker, const WorkerEnd& end, MonoTime now);
  [[nodiscard]] std::string due_recycle(const Worker& worker, MonoTime now) const;
  [[nodiscard]] uint64_t least_needed() const;
  [[nodiscard]] MonoTime rests_at(const Worker& worker) const;
  [[nodiscard]] Duration idle_timeout() const;

  void settle(MonoTime now);
  void expire(MonoTime now);
  void expire_one(uint64_t number, Worker& worker, MonoTime now);
  void judge(MonoTime now);
  void replace(MonoTime now);
  void shrink(MonoTime now);
  void fill(MonoTime now);

  WorkerNumbers& numbers_;
  PoolRules rules_;
  std::map<uint64_t, Worker> workers_;
  std::vector<PoolOrder> orders_;
  CrashRecord record_;
  uint32_t server_ = 0;   // the current one's epoch; 0: none
  uint32_t version_ = 1;  // of the recipe
  uint32_t owed_ = 0;     // workers that were lost and are to be replaced
  Circuit circuit_ = Circuit::CLOSED;
  bool stopped_ = false, removed_ = false, down_ = false;
  std::string state_cause_;
  MonoTime restart_at_;     // no start before it: back-off
  uint32_t idle_part_ = 1;  // of idle_timeout: one of so many, for want of memory
  MonoTime scaled_at_;
  uint32_t scale_step_ = 1;
  MonoTime probe_at_ = MonoTime::never();
  uint64_t crashes_total_ = 0, recycled_total_ = 0, started_total_ = 0;
};

[[nodiscard]] const char* worker_state_name(PoolKeeper::WorkerState state);  // "starting", "ready", …
[[nodiscard]] const char* pool_state_name(PoolKeeper::State state);          // "serving", "stopped", "failed"

}  // namespace penstock
