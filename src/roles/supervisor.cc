// The supervisor's loop: start, one turn after another, stop.
#include "src/roles/supervisor.h"

#include "src/base/assert.h"
#include "src/base/doorbell.h"
#include "src/base/version.h"
#include "src/roles/machine_errors.h"
#include "src/roles/patience.h"
#include "src/roles/supervisor_state.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <sched.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr int EXIT_DONE = 0;
constexpr int EXIT_FAILED = 1;
constexpr int EXIT_CONFIG = 2;

// What wraps a program sends its process and its process group the same signal; a person takes longer.
constexpr Duration SECOND_SIGNAL_AFTER = milliseconds(100);

// Journal slots are requests in flight: every connection may have one, up to a million a reactor; one more is
// answered 503 and counted. They cost memory once used.
constexpr uint32_t SLOTS_MIN = 1024;

uint32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<uint32_t>(std::max(CPU_COUNT(&set), 1));
}

uint32_t reactor_count(const Settings& settings) {
  if (settings.server_transport == TransportSetting::DPDK) return static_cast<uint32_t>(settings.dpdk_queues);
  if (settings.server_reactors != 0) return settings.server_reactors;
  if (!settings.server_cpus.empty()) return static_cast<uint32_t>(settings.server_cpus.size());
  return usable_cores();
}

// Every connection is a descriptor: as many as the system gives.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  constexpr rlim_t WANTED = 1048576;  // the kernel's default ceiling, fs.nr_open
  const rlimit more{std::max(WANTED, limit.rlim_max), std::max(WANTED, limit.rlim_max)};
  if (::setrlimit(RLIMIT_NOFILE, &more) == 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

uint64_t Supervisor::token(Source source, uint32_t serial) {
  return uint64_t{std::to_underlying(source)} << 32 | serial;
}

Supervisor::Supervisor(SupervisorOptions options, const SupervisorEnvironment& environment, Clock& clock,
                       OperatorLog& log)
    : options_(std::move(options)),
      environment_(environment),
      clock_(clock),
      log_(log),
      notifier_(environment.notify_socket) {}

Supervisor::~Supervisor() = default;

// File, overlay, and the addresses of sockets that the service manager passed, if nobody names addresses.
std::optional<int> Supervisor::start_config() {
  auto activated =
      take_activated_sockets(environment_.listen_pid, environment_.listen_fds, environment_.listen_fdnames);
  if (!activated) {
    log_.error(activated.error().message);
    return EXIT_FAILED;
  }
  std::vector<Assignment> assignments;
  ConfigErrors errors;
  if (!options_.config_file.empty()) {
    const auto text = read_config_file(options_.config_file);
    if (!text) {
      log_.error(text.error().message);
      return EXIT_CONFIG;
    }
    ParseResult parsed = parse_text(*text, options_.config_file);
    assignments = std::move(parsed.assignments);
    errors = std::move(parsed.errors);
  }
  assignments.insert(assignments.end(), options_.overlay.begin(), options_.overlay.end());
  auto tree = Tree::from(assignments);
  if (!tree) errors.insert(errors.end(), tree.error().begin(), tree.error().end());
  if (errors.empty()) errors = machine_errors(*tree, nullptr, as_root_);
  if (!errors.empty()) {
    const std::string text = to_text(errors);
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    return EXIT_CONFIG;
  }
  reactors_ = reactor_count(tree->settings());
  listeners_ = std::make_unique<ListenerSet>(reactors_, std::move(*activated),
                                             tree->settings().server_transport == TransportSetting::DPDK);
  if (!tree->is_set("server.listen") && !listeners_->activated_addresses().empty()) {
    std::string value;
    const std::vector<ListenAddress>& over_tls = tree->settings().server_listen_tls;
    for (const ListenAddress& address : listeners_->activated_addresses()) {
      if (std::find(over_tls.begin(), over_tls.end(), address) == over_tls.end()) value += to_text(address) + " ";
    }
    options_.overlay.push_back({"server.listen", value, "LISTEN_FDS", 0});
    assignments.push_back(options_.overlay.back());
    tree = Tree::from(assignments);
    ASSERT(tree.has_value());  // bound_address() only gives addresses that the setting can name
  }
  tree_ = std::move(*tree);
  config_loaded_ = started_wall_;
  history_.commit(Tree(), tree_, started_wall_, "start");
  return std::nullopt;
}

Status Supervisor::start_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) ::sigaddset(&set, number);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return fail_errno("sigprocmask");
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.valid()) return fail_errno("signalfd");
  return loop_.watch(signals_.get(), token(Source::SIGNALS));
}

Status Supervisor::start_resources() {
  auto loop = EventLoop::open();
  if (!loop) return std::unexpected(loop.error());
  loop_ = std::move(*loop);
  if (Status ok = start_signals(); !ok) return ok;

  // The control socket first: it is what tells a second instance that there is a first.
  auto control = ControlSocket::open(options_.control_path);
  if (!control) return std::unexpected(control.error());
  control_.emplace(std::move(*control));
  if (Status ok = loop_.watch(control_->fd(), token(Source::CONTROL)); !ok) return ok;

  const Settings& settings = tree_.settings();
  auto change = listeners_->prepare(wanted_listeners(settings), static_cast<int>(settings.server_backlog));
  if (!change) return std::unexpected(change.error());
  listeners_->commit(std::move(*change));
  for (const ListenAddress& unused : listeners_->activated_addresses()) {
    log_.warn("a socket for " + to_text(unused) +
              " was passed by the service manager, but neither server.listen nor server.listen_tls names it");
  }

  if (::getrandom(&instance_, sizeof instance_, 0) != sizeof instance_) return fail_errno("getrandom");
  const uint32_t slots =
      std::clamp((settings.server_connections_max + reactors_ - 1) / reactors_, SLOTS_MIN, JOURNAL_SLOTS_MAX);
  auto journals = JournalSets::create(reactors_, instance_, slots);
  if (!journals) return std::unexpected(journals.error());
  journals_.emplace(std::move(*journals));
  static_assert(JournalSets::SETS == ConnectionCounts::PLACES);
  auto connections = ConnectionCounts::create(static_cast<uint32_t>(settings.server_connections_max), instance_);
  if (!connections) return std::unexpected(connections.error());
  connections_.emplace(std::move(*connections));
  auto bed = make_bed();
  if (!bed) return std::unexpected(bed.error());
  log_bed_ = std::move(*bed);

  if (!options_.config_file.empty()) {
    auto watch = ConfigWatch::open(options_.config_file);
    if (!watch) {
      log_.warn("changes of the configuration file will not be seen: " + watch.error().message);
    } else {
      watch_.emplace(std::move(*watch));
      if (Status ok = loop_.watch(watch_->fd(), token(Source::WATCH)); !ok) return ok;
    }
  }
  return {};
}

std::optional<int> Supervisor::start() {
  now_ = clock_.now();
  started_ = now_;
  started_wall_ = clock_.wall();
  as_root_ = ::geteuid() == 0;
  raise_descriptor_limit();
  if (const auto code = start_config()) return code;
  Status ok = start_resources();
  if (ok) ok = spawn_logd();
  if (ok) sync_keyd();
  if (ok) ok = spawn_server(tree_, nullptr);
  if (!ok) {
    log_.error(ok.error().message);
    return EXIT_FAILED;
  }
  alarms_.emplace(AlarmsWorld{loop_, log_, clock_, *journals_, roles_, environment_.executable, as_root_,
                              token(Source::PROGRAM), token(Source::ALARM), token(Source::TEST)});
  alarms_->configure(tree_.settings());
  pools_.emplace(PoolsWorld{loop_, log_, clock_, *journals_, roles_, environment_.executable, reactors_, as_root_,
                            token(Source::WORKER), token(Source::ACTION), token(Source::LISTENER), token(Source::AUDIT),
                            deaths_, *alarms_});
  pools_->configure(tree_.settings(), now_);
  return std::nullopt;
}

int Supervisor::run() {
  if (const auto code = start()) exit_code_ = code;
  while (!exit_code_) turn();
  tell_open_requests(open_lines_.size());
  for (const auto& role : roles_) role->kill_and_wait();  // only after a failed start
  if (pools_) pools_->kill_and_wait();
  if (alarms_) alarms_->kill_all();
  return *exit_code_;
}

void Supervisor::turn() {
  const MonoTime deadline = next_deadline();
  const Duration wait = deadline == MonoTime::never() ? Duration{-1} : std::max(deadline - now_, Duration{});
  const auto ready = loop_.wait(wait);
  now_ = clock_.now();
  for (const EventLoop::Ready& one : ready) dispatch(one);
  run_timers(now_);
  pump_changes();
  tell_open_requests(OPEN_REQUEST_LINES);
  if (stopping_) step_stop();
}

void Supervisor::dispatch(const EventLoop::Ready& ready) {
  const auto serial = static_cast<uint32_t>(ready.token);
  switch (static_cast<Source>(ready.token >> 32)) {
    case Source::SIGNALS:
      return on_signals();
    case Source::CONTROL:
      return serve_control();
    case Source::WATCH: {
      const auto changed = watch_->changed();
      if (!changed) log_.warn("configuration file: " + changed.error().message);
      if (changed.value_or(false)) reload_watched();
      return;
    }
    case Source::PIDFD:
      return role_ended(serial);
    case Source::CHANNEL:
      return read_channel(serial);
    case Source::WORKER:
      return pools_->worker_event(serial, now_);
    case Source::ACTION:
      return pools_->action_event(serial, now_);
    case Source::LISTENER:
      return pools_->listener_event(serial, now_);
    case Source::PROGRAM:
      return alarms_->program_event(serial, now_);
    case Source::ALARM:
      return alarms_->command_event(serial, now_);
    case Source::TEST:
      return alarms_->test_event(serial, now_);
    case Source::AUDIT:
      return pools_->audit_event(now_);
  }
}

MonoTime Supervisor::next_deadline() const {
  if (!open_lines_.empty()) return now_;
  MonoTime next = std::min({server_record_.restart_at, logd_record_.restart_at, keyd_record_.restart_at});
  next = std::min({next, control_->next_deadline(), pools_->next_deadline(), alarms_->next_deadline()});
  for (const auto& role : roles_) {
    next = std::min(next, role->deadline);
    if (role->state == RoleProcess::State::READY) next = std::min(next, role->ping.next);
  }
  for (const auto& [id, query] : queries_) next = std::min(next, query.deadline);
  if (change_) next = std::min(next, change_->deadline);
  next = std::min(next, reload_at_);
  next = std::min(next, tickets_.due(tree_.settings().tls_tickets_rotate, tree_.settings().tls_tickets_lifetime));
  if (!tree_.settings().server_listen_tls.empty()) next = std::min(next, certificates_look_at_);
  return next;
}

void Supervisor::run_timers(MonoTime now) {
  if (control_->next_deadline() <= now) serve_control();
  for (size_t i = 0; i < roles_.size(); ++i) watch_role(*roles_[i], now);
  restart_due(now);
  pools_->run_timers(now);
  alarms_->run_timers(now);
  change_timer(now);
  if (reload_at_ <= now) reload_watched();
  if (certificates_look_at_ <= now) look_at_certificates();
  turn_tickets(tree_.settings());
  for (auto it = queries_.begin(); it != queries_.end();) {
    if (it->second.deadline > now) {
      ++it;
      continue;
    }
    if (it->second.answer) {
      reply(it->second.client, std::move(*it->second.answer));
    } else {
      reply_error(it->second.client, "no answer in time");
    }
    it = queries_.erase(it);
  }
}

void Supervisor::on_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    const auto number = static_cast<int>(info.ssi_signo);
    if (number == SIGTERM || number == SIGINT) {
      if (stopping_) {  // asked twice: no more patience
        if (now_ - stopping_since_ < SECOND_SIGNAL_AFTER) continue;
        for (const auto& role : roles_) kill_role(*role, "the second signal to stop");
        pools_->kill_all();
      } else {
        begin_stop(number == SIGTERM ? "SIGTERM" : "SIGINT");
      }
    }
    if (number == SIGHUP) reload_file("SIGHUP");
    if (number == SIGHUP || number == SIGUSR1) {
      if (RoleProcess* logd = ready("logd")) (void)logd->channel.send(MessageKind::ROTATE, 0, {});
    }
    if (number == SIGUSR2) {
      ask_change({ChangeRequest::Kind::RENEW, {}, std::nullopt, "SIGUSR2", 0});
    }
  }
}

void Supervisor::begin_stop(const std::string& why) {
  stopping_ = true;
  stopping_since_ = now_;
  notifier_.stopping();
  log_.note("stopping (" + why + ")");
  if (change_ && change_->step != Change::Step::LOGD) change_refused("penstock is stopping");
  for (const ChangeRequest& request : waiting_changes_) {
    if (request.client != 0) reply_error(request.client, "penstock is stopping");
  }
  waiting_changes_.clear();
  server_record_.restart_at = MonoTime::never();
  logd_record_.restart_at = MonoTime::never();
  keyd_record_.restart_at = MonoTime::never();
  const Duration timeout = tree_.settings().server_drain_timeout;
  for (const auto& role : roles_) {
    if (role->role == "server" && role->state != RoleProcess::State::DRAINING) drain(*role, timeout);
    if (role->role == "server") role->deadline = std::min(role->deadline, now_ + timeout + DRAIN_GRACE);
  }
}

// Servers first, with the workers that finish their requests, so that logd gets their last records; then workers and
// logd; then the end.
void Supervisor::step_stop() {
  if (has_role("server")) return;
  pools_->shut_down(now_);
  for (const auto& role : roles_) {
    if (role->state != RoleProcess::State::DRAINING) drain(*role, LOGD_FLUSH);
  }
  if (roles_.empty() && pools_->empty() && !exit_code_) {
    log_.note("stopped");
    exit_code_ = EXIT_DONE;
  }
}

void Supervisor::tell_status() {
  const RoleProcess* server = ready("server");
  std::string text = server != nullptr ? "serving, generation " + std::to_string(server->generation) : "no server";
  if (server_record_.backoff.crash_loop()) text += "; the server keeps crashing: " + server_record_.last_end;
  if (!config_problem_.empty()) text += "; the configuration file is not in force: " + config_problem_;
  notifier_.status(escape_line(text, 512));
}

int run_supervisor(SupervisorOptions options, const SupervisorEnvironment& environment) {
  RealClock clock;
  OperatorLog log(clock, STDERR_FILENO, environment.stderr_is_journal);
  Supervisor supervisor(std::move(options), environment, clock, log);
  return supervisor.run();
}

}  // namespace penstock
