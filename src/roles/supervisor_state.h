// The supervisor's state, and its rooms: one .cc each for the loop, the roles, configuration changes, commands, status.
// Internal to src/roles. One thread; nothing here blocks but the start of a process.
//
// Invariants:
// - At most one server is STARTING, at most one READY; more may be DRAINING. Each has a journal set of its own.
// - At most one change of the configuration is under way (`change_`); the others wait in `waiting_changes_`.
// - tree_ is what the READY server runs with, or what the next one will be started with.
#pragma once

#include "src/admin/control_socket.h"
#include "src/admin/death_list.h"
#include "src/admin/event_loop.h"
#include "src/admin/journal_sets.h"
#include "src/admin/json.h"
#include "src/admin/key_messages.h"
#include "src/admin/listener_set.h"
#include "src/admin/notify.h"
#include "src/admin/operator_log.h"
#include "src/admin/restart_backoff.h"
#include "src/admin/role_process.h"
#include "src/base/clock.h"
#include "src/base/duration_text.h"
#include "src/config/history.h"
#include "src/config/tree.h"
#include "src/config/watch.h"
#include "src/roles/supervisor.h"
#include "src/roles/supervisor_alarms.h"
#include "src/roles/supervisor_pools.h"
#include "src/server/connection_counts.h"
#include "src/tls/certificate_bundle.h"
#include "src/tls/ticket_rotation.h"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

constexpr Duration LOGD_FLUSH = seconds(10);  // for logd to write what the rings still hold

class Supervisor {
 public:
  Supervisor(SupervisorOptions options, const SupervisorEnvironment& environment, Clock& clock, OperatorLog& log);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  [[nodiscard]] int run();

 private:
  // What stands behind an event token; the low half is a role's serial.
  enum class Source : uint32_t {
    SIGNALS = 1,
    CONTROL,
    WATCH,
    PIDFD,
    CHANNEL,
    WORKER,
    ACTION,
    LISTENER,
    PROGRAM,
    ALARM,
    TEST,
    AUDIT
  };

  // How a kind of role fares over its processes.
  struct RoleRecord {
    RestartBackoff backoff;
    MonoTime restart_at = MonoTime::never();
    uint64_t restarts = 0;  // replacements after an unexpected end
    std::string last_end;   // "pid 12 was killed by SIGSEGV after 3.2 s"
  };

  // A change that someone asked for.
  struct ChangeRequest {
    enum class Kind : uint8_t { SET, REPLACE, RENEW, CERTIFICATES } kind = Kind::SET;
    std::vector<Assignment> assignments;
    std::optional<uint64_t> if_generation;
    std::string who;
    uint64_t client = 0;  // of the control socket, who waits for the answer; 0: nobody
  };

  // The change under way: tried on the server first, then told to logd.
  struct Change {
    enum class Step : uint8_t {
      SERVER_CONFIG,  // CONFIG sent: CONFIG_OK or CONFIG_FAILED comes
      SERVER_BESIDE,  // told that another will have the port past the kernel as well: PORT_HEARD_OK comes
      SERVER_STOP,    // the old server drains: the port past the kernel, which it has, goes to a new one
      SERVER_START,   // a new server was started with it, because the old one's sandbox cannot reach what it needs
      HANDOVER,       // it is ready; the old one is letting go of the listeners
      LOGD,           // in force; logd is following
    } step = Step::SERVER_CONFIG;
    ChangeRequest request;
    Tree next;
    ConfigErrors notes;
    ListenerChange listeners;
    bool listeners_taken = false;
    uint32_t message_id = 0;
    uint32_t serial = 0;  // of the server that decides
    MonoTime deadline;
    std::vector<TreeChange> changes;
    std::string logd_problem;
    UniqueFd certificates;                 // that it was tried with; invalid: none
    std::map<std::string, UniqueFd> keys;  // key files that keyd asked for meanwhile
  };

  // A question of a control client that a role answers.
  struct Query {
    uint64_t client = 0;
    uint32_t serial = 0;
    MonoTime deadline;
    std::optional<Json> answer;  // known already: it waits until the role has heard of it, for no longer than that
  };

  // --- supervisor.cc: start, loop, stop
  [[nodiscard]] std::optional<int> start();  // an exit code if it failed
  [[nodiscard]] std::optional<int> start_config();
  [[nodiscard]] Status start_resources();
  [[nodiscard]] Status start_signals();
  void turn();
  void dispatch(const EventLoop::Ready& ready);
  [[nodiscard]] MonoTime next_deadline() const;
  void run_timers(MonoTime now);
  void on_signals();
  void begin_stop(const std::string& why);
  void step_stop();
  void tell_status();
  [[nodiscard]] static uint64_t token(Source source, uint32_t serial = 0);

  // --- supervisor_roles.cc: the life of role processes
  [[nodiscard]] Result<UniqueFd> read_certificates(const Settings& settings, bool fresh);  // supervisor_certificates.cc
  void keep_certificates(UniqueFd bundle);
  void turn_tickets(const Settings& settings);
  void look_at_certificates();
  // With the configuration of the change under way.
  [[nodiscard]] Status start_changed_server();
  [[nodiscard]] Status spawn_server(const Tree& tree, const ListenerChange* change);
  [[nodiscard]] Status spawn_logd();
  [[nodiscard]] Status adopt(RoleProcess process, const RoleStart& start);
  [[nodiscard]] Status give_identity(RoleStart& start, const std::string& setting) const;
  [[nodiscard]] RoleProcess* find(uint32_t serial);
  [[nodiscard]] RoleProcess* ready(std::string_view role);
  [[nodiscard]] RoleProcess* starting(std::string_view role);
  [[nodiscard]] bool has_role(std::string_view role) const;
  [[nodiscard]] std::optional<uint32_t> free_journal_set() const;
  [[nodiscard]] RoleRecord& record(std::string_view role);
  void read_channel(uint32_t serial);
  void take_message(RoleProcess& role, ChannelMessage message);
  void role_ready(RoleProcess& role, const ChannelMessage& message);
  void role_ended(uint32_t serial);
  void account_end(const RoleProcess& role, const RoleExit& end);
  void note_open_requests(const RoleProcess& role, const std::vector<InFlightRequest>& open);
  void tell_open_requests(size_t lines);
  void restart_later(const std::string& role, MonoTime started);
  void drain(RoleProcess& role, Duration timeout);
  void server_let_go();
  void kill_role(RoleProcess& role, const std::string& reason);
  void watch_role(RoleProcess& role, MonoTime now);
  void restart_due(MonoTime now);
  void announce(const RoleProcess& server);

  // --- supervisor_port.cc: the port past the kernel
  [[nodiscard]] Status keep_kernel_tap(const Settings& settings);
  [[nodiscard]] static bool two_may_have_port(const Settings& settings);
  [[nodiscard]] bool two_may_have_port(const Change& change) const;
  [[nodiscard]] Status begin_beside(RoleProcess& server);
  void begin_in_turn(RoleProcess& server);
  void settle_port();

  // --- supervisor_keys.cc: keyd
  [[nodiscard]] Status give_key_channels(RoleProcess& server, RoleStart& start) const;
  [[nodiscard]] Status spawn_keyd();
  [[nodiscard]] std::vector<std::string> wanted_key_files() const;
  void sync_keyd();
  void keyd_ready(RoleProcess& keyd);
  void keyd_meets(const RoleProcess& server);
  void keyd_leaves(uint32_t serial);
  void keyd_ended(bool expected);
  [[nodiscard]] static UniqueFd duplicate(const UniqueFd& fd);
  [[nodiscard]] KeyFile key_file(const std::string& path);
  void keep_keys();
  void take_key_message(RoleProcess& role, const ChannelMessage& message);

  // --- supervisor_config.cc: changes of the configuration
  void reload_file(const std::string& who);
  void reload_watched();  // reload_file() once nobody is writing it
  void ask_change(ChangeRequest request);
  void pump_changes();
  [[nodiscard]] bool begin_change(ChangeRequest& request);  // false: it must wait
  [[nodiscard]] ConfigResult<Tree> next_tree(const ChangeRequest& request, ConfigErrors& notes) const;
  void change_accepted();
  void change_refused(const std::string& why);
  void refuse_request(const ChangeRequest& request, const ConfigErrors& errors);
  void sync_logd();
  void logd_settled(const std::string& problem);
  void finish_change();
  void change_timer(MonoTime now);
  void answer_change(const ChangeRequest& request, uint64_t generation, const std::vector<TreeChange>& changes,
                     const ConfigErrors& notes);

  // --- supervisor_control.cc: commands
  void serve_control();
  void handle_request(const ControlRequest& request);
  void command_get(const ControlRequest& request, const Json& body);
  void command_list(const ControlRequest& request, const Json& body);
  void command_set(const ControlRequest& request, const Json& body);
  void command_load(const ControlRequest& request, const Json& body);
  void command_requests(const ControlRequest& request, const Json& body);
  void command_status(const ControlRequest& request, const Json& body);
  void command_counters(const ControlRequest& request, const Json& body);
  void command_cache(const ControlRequest& request, const Json& body);
  void command_rotate(const ControlRequest& request, const Json& body);
  void command_follow(const ControlRequest& request, const Json& body);
  void command_pools(const ControlRequest& request, const Json& body);
  void command_killers(const ControlRequest& request, const Json& body);
  void command_alarms(const ControlRequest& request, const Json& body);
  void command_restart_server(const ControlRequest& request, const Json& body);
  void ask_role(const ControlRequest& request, std::string_view role, MessageKind kind, const std::string& payload);
  void take_reply(const RoleProcess& role, const ChannelMessage& message);
  void fail_queries(uint32_t serial, const std::string& why);
  void reply(uint64_t client, Json answer);
  void reply_error(uint64_t client, const std::string& why);
  struct Command;
  static const Command COMMANDS[];

  // --- supervisor_deaths.cc: what `journal killers` says
  void note_server_end(const RoleProcess& role, const RoleExit& end, const std::vector<InFlightRequest>& open);

  // --- supervisor_status.cc: what `status` says
  [[nodiscard]] Json status_json();
  [[nodiscard]] Json role_json(const RoleProcess& role) const;
  [[nodiscard]] Json config_json() const;
  [[nodiscard]] Json counters_json() const;
  [[nodiscard]] Json requests_json(Duration older = {}) const;
  [[nodiscard]] std::vector<std::string> weaker() const;

  SupervisorOptions options_;
  const SupervisorEnvironment& environment_;
  Clock& clock_;
  OperatorLog& log_;
  ServiceNotifier notifier_;

  MonoTime now_;  // of this turn
  MonoTime started_;
  WallTime started_wall_;
  bool as_root_ = false;
  uint32_t reactors_ = 1;
  uint64_t instance_ = 0;

  EventLoop loop_;
  UniqueFd signals_;
  UniqueFd log_bed_;  // where logd sleeps; each server has a bell of its own there
  std::unique_ptr<ListenerSet> listeners_;
  std::optional<JournalSets> journals_;
  std::optional<ConnectionCounts> connections_;  // a server's place there is its journal set
  std::optional<ControlSocket> control_;

  Tree tree_;
  ConfigHistory history_;
  std::optional<ConfigWatch> watch_;
  MonoTime reload_at_ = MonoTime::never();  // the file has changed and was being written: look again
  MonoTime writing_since_ = MonoTime::never();
  std::string config_problem_;  // why the file as it is now is not in force; "" when it is
  WallTime config_loaded_;

  std::vector<std::unique_ptr<RoleProcess>> roles_;
  DeathList deaths_;
  // What is still to be told of requests that servers left open, and how much of it in a turn: the replacement of a
  // server does not wait for it.
  static constexpr size_t OPEN_REQUEST_LINES = 1000;
  std::deque<std::string> open_lines_;
  std::optional<Alarms> alarms_;  // what workers tried, and what they run
  std::optional<Pools> pools_;    // the worker processes
  RoleRecord server_record_, logd_record_, keyd_record_;
  std::vector<std::string> key_files_;  // that keyd may ask for, sorted
  uint32_t next_serial_ = 1;
  uint32_t next_message_ = 1;

  // The kernel's end of dpdk's port, and what it was opened for; without a device there is none.
  struct KernelTap {
    UniqueFd fd;
    std::string device;
    std::vector<InterfaceAddress> addresses;  // and gateways
  };
  KernelTap kernel_tap_;
  TicketRotation tickets_;
  MonoTime certificates_look_at_;
  // What the server in force was started or changed with: the next one gets it again, whatever lies on the disk then.
  std::unique_ptr<CertificateBundle> certificates_kept_;
  UniqueFd certificates_kept_fd_;
  UniqueFd certificates_given_;                // to the server that is starting
  std::map<std::string, UniqueFd> keys_kept_;  // by path: sealed copies of the key files that belong to them
  std::string certificates_used_;              // the state of their files, and their keys', that was tried last
  std::string certificates_seen_;              // … at the last look
  std::deque<ChangeRequest> waiting_changes_;
  std::optional<Change> change_;
  std::map<uint32_t, Query> queries_;

  bool announced_ = false;  // a server has been ready once
  bool stopping_ = false;
  MonoTime stopping_since_;
  std::optional<int> exit_code_;
};

}  // namespace penstock
