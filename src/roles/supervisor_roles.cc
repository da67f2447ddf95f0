// The life of role processes: start, ready, alive, drain, end, replacement.
#include "pool/sandbox/identity.h"
#include "src/admin/role_paths.h"
#include "src/base/assert.h"
#include "src/base/doorbell.h"
#include "src/roles/patience.h"
#include "src/roles/supervisor_state.h"
#include "src/tls/kernel_tls.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

using RoleState = RoleProcess::State;

constexpr Duration START_TIMEOUT = seconds(60);        // a large configuration, cold disk, loaded machine
constexpr Duration CLOSED_CHANNEL_GRACE = seconds(2);  // from the end of the channel to the end of the process
constexpr Duration PING_EVERY = seconds(1);
constexpr Duration SERVER_ANSWER = seconds(5);     // a server that says nothing for so long hangs
constexpr Duration LOGD_ANSWER = seconds(60);      // logd may wait for a slow disk
constexpr Duration HANDOVER_TIMEOUT = seconds(3);  // from one server to the next; a server whose reactor hangs
constexpr Duration ROOM_AGAIN = milliseconds(20);
constexpr Duration RENEW_EVERY = seconds(1);  // a server younger than this is not replaced at its own wish

// A log directory that is missing is made for logd, which could not make it itself. One that exists is the operator's:
// logd says so if it may not write there.
void make_log_directory(const std::string& dir, const RoleStart& start) {
  if (::mkdir(dir.c_str(), 0750) != 0 || !start.as_root) return;
  const UniqueFd fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd.valid()) (void)::fchown(fd.get(), start.uid, start.gid);
}

// What an operator is told of kTLS.
std::string kernel_tls_line(const Settings& settings) {
  if (settings.tls_kernel == KernelTlsSetting::OFF) return "not used: tls.kernel is off";
  if (settings.server_transport == TransportSetting::DPDK) return "not used: nothing goes through the kernel's sockets";
  return look_for_kernel_tls().why;
}

}  // namespace

RoleProcess* Supervisor::find(uint32_t serial) {
  for (const auto& role : roles_) {
    if (role->serial == serial) return role.get();
  }
  return nullptr;
}

RoleProcess* Supervisor::ready(std::string_view role) {
  for (const auto& one : roles_) {
    if (one->role == role && one->state == RoleState::READY) return one.get();
  }
  return nullptr;
}

RoleProcess* Supervisor::starting(std::string_view role) {
  for (const auto& one : roles_) {
    if (one->role == role && one->state == RoleState::STARTING) return one.get();
  }
  return nullptr;
}

bool Supervisor::has_role(std::string_view role) const {
  return std::any_of(roles_.begin(), roles_.end(), [role](const auto& one) { return one->role == role; });
}

Supervisor::RoleRecord& Supervisor::record(std::string_view role) {
  if (role == "server") return server_record_;
  return role == "keyd" ? keyd_record_ : logd_record_;
}

std::optional<uint32_t> Supervisor::free_journal_set() const {
  for (uint32_t set = 0; set < JournalSets::SETS; ++set) {
    const bool used = std::any_of(roles_.begin(), roles_.end(), [set](const auto& role) {
      return role->role == "server" && role->journal_set == set;
    });
    if (!used) return set;
  }
  return std::nullopt;
}

Status Supervisor::give_identity(RoleStart& start, const std::string& setting) const {
  start.as_root = as_root_;
  if (!as_root_) {
    start.identity_name = "uid " + std::to_string(::geteuid()) + " (the caller's)";
    return {};
  }
  auto identity = resolve_identity(setting, start.role);
  if (!identity) return fail(start.role + ".user: " + identity.error().message);
  start.uid = identity->ids.uid;
  start.gid = identity->ids.gid;
  start.identity_name = identity->name;
  return {};
}

Status Supervisor::adopt(RoleProcess process, const RoleStart& start) {
  process.identity = start.identity_name;
  process.generation = start.generation;
  process.deadline = now_ + START_TIMEOUT;
  Status ok = send_start(process.channel, start);
  if (ok) ok = loop_.watch(process.pidfd(), token(Source::PIDFD, process.serial));
  if (ok) ok = loop_.watch(process.channel.fd(), token(Source::CHANNEL, process.serial));
  if (!ok) {
    process.kill_and_wait();
    return ok;
  }
  roles_.push_back(std::make_unique<RoleProcess>(std::move(process)));
  return {};
}

Status Supervisor::spawn_server(const Tree& tree, const ListenerChange* change) {
  const bool by_port = tree.settings().server_transport == TransportSetting::DPDK;
  if (by_port && has_role("server") && !two_may_have_port(tree.settings())) {
    return fail("the port past the kernel has a server, which is still there");
  }
  const auto set = free_journal_set();
  ASSERT(set.has_value());
  RoleStart start;
  start.role = "server";
  start.generation = tree.generation();
  start.config_text = tree.canonical_text();
  start.reactors = reactors_;
  start.server_epoch = next_serial_;
  if (Status ok = give_identity(start, tree.settings().server_user); !ok) return ok;
  auto listeners = listeners_->table_for_start(change);
  if (!listeners) return std::unexpected(listeners.error());
  start.listeners = std::move(*listeners);
  const bool fresh = change_ && change != nullptr && change_->request.kind == ChangeRequest::Kind::CERTIFICATES;
  auto certificates = read_certificates(tree.settings(), fresh);
  if (!certificates) return std::unexpected(certificates.error());
  start.certificates = std::move(*certificates);
  start.certificates_are_new = change_ && change != nullptr && change_->request.kind != ChangeRequest::Kind::RENEW;
  (change == nullptr ? certificates_given_ : change_->certificates) = duplicate(start.certificates);
  turn_tickets(tree.settings());
  start.ticket_keys = tickets_.text();
  if (Status opened = keep_kernel_tap(tree.settings()); !opened) return opened;
  start.kernel_tap = duplicate(kernel_tap_.fd);
  start.port_heard_by_two = by_port && has_role("server");
  auto journals = journals_->fds_for_server(*set);
  if (!journals) return std::unexpected(journals.error());
  start.journals = std::move(*journals);
  connections_->forget(*set);
  start.connections = duplicate(connections_->fd());
  start.place = *set;
  auto bell = make_bell();
  if (!bell) return std::unexpected(bell.error());
  start.doorbell = std::move(*bell);
  if (Status hung = hang_bell(start.doorbell, {log_bed_.get()}); !hung) return hung;

  auto process = RoleProcess::spawn(environment_.executable, "server", next_serial_++, now_);
  if (!process) return std::unexpected(process.error());
  process->journal_set = *set;
  process->port_heard_by_two = start.port_heard_by_two;
  process->paths = server_read_paths(tree.settings());
  Status ok = give_key_channels(*process, start);
  if (!ok) process->kill_and_wait();
  if (ok) ok = adopt(std::move(*process), start);
  if (ok) keyd_meets(*roles_.back());
  return ok;
}

Status Supervisor::spawn_logd() {
  RoleStart start;
  start.role = "logd";
  start.generation = tree_.generation();
  start.config_text = tree_.canonical_text();
  start.reactors = reactors_;
  if (Status ok = give_identity(start, tree_.settings().log_user); !ok) return ok;
  auto journals = journals_->fds_for_logd();
  if (!journals) return std::unexpected(journals.error());
  start.journals = std::move(*journals);
  start.doorbell = duplicate(log_bed_);

  for (const std::string& dir : logd_write_paths(tree_.settings())) make_log_directory(dir, start);
  auto process = RoleProcess::spawn(environment_.executable, "logd", next_serial_++, now_);
  if (!process) return std::unexpected(process.error());
  process->paths = logd_write_paths(tree_.settings());
  return adopt(std::move(*process), start);
}

void Supervisor::read_channel(uint32_t serial) {
  for (RoleProcess* role = find(serial); role != nullptr && role->channel.open(); role = find(serial)) {
    const int fd = role->channel.fd();
    auto message = role->channel.receive();
    if (!message) {
      if (!role->channel.open()) {
        // The descriptor is gone already, and with it the watch.
      } else {
        loop_.unwatch(fd);
        role->channel.close();
      }
      if (message.error().code == CHANNEL_BREACH) {
        kill_role(*role, "it broke the protocol (" + message.error().message + ")");
      } else {
        role->deadline = std::min(role->deadline, now_ + CLOSED_CHANNEL_GRACE);
      }
      return;
    }
    if (!message->has_value()) return;
    take_message(*role, std::move(**message));
  }
}

void Supervisor::take_message(RoleProcess& role, ChannelMessage message) {
  const bool deciding = change_ && change_->serial == role.serial && change_->message_id == message.id;
  switch (message.kind) {
    case MessageKind::READY:
      return role_ready(role, message);
    case MessageKind::CONFIG_OK:
      if (role.role == "logd") return logd_settled("");
      if (deciding && change_->step == Change::Step::SERVER_CONFIG) change_accepted();
      return;
    case MessageKind::CONFIG_FAILED:
      if (role.role == "logd") return logd_settled(message.payload);
      if (deciding && change_->step == Change::Step::SERVER_CONFIG) change_refused(message.payload);
      return;
    case MessageKind::REPLY:
      return take_reply(role, message);
    case MessageKind::LOG:
      return log_.note(role.role + ": " + message.payload);
    case MessageKind::PONG:
      if (role.ping.waiting && role.ping.id == message.id) {
        role.ping.waiting = false;
        role.ping.answered_ever = true;
      }
      return;
    case MessageKind::RENEW:
      if (role.state != RoleState::READY || now_ - role.ready_at < RENEW_EVERY) return;
      return ask_change(
          {ChangeRequest::Kind::RENEW, {}, std::nullopt, "server: " + escape_line(message.payload, 200), 0});
    case MessageKind::PORT_HEARD_OK:
      if (!deciding || change_->step != Change::Step::SERVER_BESIDE) return;
      if (const Status ok = start_changed_server(); !ok) change_refused(ok.error().message);
      return;
    case MessageKind::LET_GO:
      return server_let_go();
    case MessageKind::POOL_NEED:
    case MessageKind::WORKER_STATE:
    case MessageKind::POOL_LOAD:
      if (const Status ok = pools_->take_message(role.serial, message, now_); !ok) {
        kill_role(role, "it broke the protocol (" + ok.error().message + ")");
      }
      return;
    case MessageKind::KEY_NEED:
    case MessageKind::KEY_BREACH:
      return take_key_message(role, message);
    default:
      return;  // DRAINED: the end of the process says the same. Kinds of the other direction never arrive.
  }
}

void Supervisor::role_ready(RoleProcess& role, const ChannelMessage& message) {
  if (role.state != RoleState::STARTING) return kill_role(role, "it said READY twice");
  auto report = decode_ready(message.payload);
  if (!report) return kill_role(role, "its READY makes no sense: " + report.error().message);
  role.ready = std::move(*report);
  role.ready_at = now_;
  role.deadline = MonoTime::never();
  role.ping.next = now_ + PING_EVERY;
  RoleProcess* old = ready(role.role);
  role.state = RoleState::READY;
  log_.note(role.role + " is ready: pid " + std::to_string(role.pid()) + ", " + role.identity +
            (role.ready.transport.empty() ? "" : ", transport " + role.ready.transport) + ", started in " +
            duration_text(now_ - role.started));
  if (role.role == "logd") return sync_logd();
  if (role.role == "keyd") return keyd_ready(role);
  if (!change_ || change_->serial != role.serial) keep_certificates(std::move(certificates_given_));
  pools_->server_ready(role.serial, now_);
  if (old != nullptr) drain(*old, tree_.settings().server_drain_timeout);
  if (change_ && change_->step == Change::Step::SERVER_START && change_->serial == role.serial) {
    // From the answer on nobody may be served as before: the old server must have let go of the listeners.
    change_->step = Change::Step::HANDOVER;
    change_->deadline = now_ + HANDOVER_TIMEOUT;
    if (old == nullptr) change_accepted();
  }
  settle_port();
  announce(role);
  tell_status();
}

void Supervisor::server_let_go() {
  if (RoleProcess* server = ready("server")) (void)server->channel.send(MessageKind::TAKE_OVER, 0, {});
  if (change_ && change_->step == Change::Step::HANDOVER) change_accepted();
}

void Supervisor::announce(const RoleProcess& server) {
  if (announced_) return;
  announced_ = true;
  for (const std::string& line : weaker()) log_.warn("weaker here: " + line);
  if (!tree_.settings().server_listen_tls.empty()) log_.note("kTLS: " + kernel_tls_line(tree_.settings()));
  notifier_.ready("serving, generation " + std::to_string(server.generation));
  if (options_.serving.empty()) return;
  for (const ListenerGroup& group : listeners_->groups()) {
    const std::string line = "serving " + options_.serving + " on " +
                             (group.is_unix ? group.bound : (group.tls ? "https://" : "http://") + group.bound + "/") +
                             "\n";
    [[maybe_unused]] const ssize_t n = ::write(STDOUT_FILENO, line.data(), line.size());
  }
}

void Supervisor::drain(RoleProcess& role, Duration timeout) {
  if (role.state == RoleState::STARTING && role.role == "server") return kill_role(role, "it is not needed any more");
  role.state = RoleState::DRAINING;
  role.deadline = now_ + timeout + DRAIN_GRACE;
  if (const Status ok = role.channel.send(MessageKind::DRAIN, 0, std::to_string(timeout.ms())); !ok) {
    kill_role(role, "it could not be told to drain (" + ok.error().message + ")");
  }
}

void Supervisor::kill_role(RoleProcess& role, const std::string& reason) {
  if (role.kill_reason.empty()) role.kill_reason = reason;
  role.signal(SIGKILL);
  role.deadline = MonoTime::never();  // its end is certain now
}

// Deadlines and pings of one role.
void Supervisor::watch_role(RoleProcess& role, MonoTime now) {
  if (role.deadline <= now) {
    if (role.state == RoleState::STARTING)
      return kill_role(role, "it was not ready in " + duration_text(START_TIMEOUT));
    if (role.state == RoleState::DRAINING) return kill_role(role, "it had not drained in time");
    return kill_role(role, "it closed its channel");
  }
  if (role.state != RoleState::READY || role.ping.next > now || !role.channel.open()) return;
  role.ping.next = now + PING_EVERY;
  const Duration limit = role.role == "server" ? SERVER_ANSWER : LOGD_ANSWER;
  if (role.ping.waiting && role.ping.answered_ever && now - role.ping.sent >= limit) {
    return kill_role(role, "it had not answered for " + duration_text(now - role.ping.sent));
  }
  if (!role.ping.waiting) {
    role.ping.id = next_message_++;
    role.ping.sent = now;
    role.ping.waiting = true;
  }
  // Asked again while there is no answer: a reactor that was slow for one question may be well for the next. A channel
  // that is full counts as a question without an answer.
  (void)role.channel.send(MessageKind::PING, role.ping.id, {});
}

void Supervisor::role_ended(uint32_t serial) {
  RoleProcess* role = find(serial);
  if (role == nullptr) return;
  const auto end = role->reap();
  if (!end) return;
  read_channel(serial);  // its last words
  loop_.unwatch(role->pidfd());
  loop_.unwatch(role->channel.fd());
  const auto it =
      std::find_if(roles_.begin(), roles_.end(), [serial](const auto& one) { return one->serial == serial; });
  const std::unique_ptr<RoleProcess> gone = std::move(*it);
  roles_.erase(it);

  if (gone->role == "server") connections_->forget(gone->journal_set);  // where it was killed: they are open no more
  account_end(*gone, *end);
  if (gone->role == "server") {
    pools_->server_gone(serial, now_);
    keyd_leaves(serial);
  }
  settle_port();
  fail_queries(serial, "the " + gone->role + " process has ended");
  if (change_ && change_->serial == serial && change_->step == Change::Step::SERVER_STOP) {
    if (const Status ok = stopping_ ? fail("penstock is stopping") : start_changed_server(); !ok) {
      change_refused(ok.error().message);
    }
  } else if (change_ && change_->serial == serial && change_->step != Change::Step::LOGD) {
    change_refused("the server " + end->text() + " when it was given the new configuration");
  }
  if (stopping_) return;
  if (!announced_ && gone->role == "server" && !exit_code_) {
    log_.error("the server could not be started");
    exit_code_ = 1;
    return;
  }
  const bool expected = gone->state == RoleState::DRAINING;
  if (expected && gone->role == "server") server_let_go();  // if it could not say so
  if (gone->role == "keyd" && (expected || key_files_.empty())) return keyd_ended(expected);
  if (gone->role == "logd" && expected) {  // it made room for one that reaches other directories
    logd_record_.restart_at = now_;
  } else if (ready(gone->role) == nullptr && starting(gone->role) == nullptr) {
    restart_later(gone->role, gone->started);
  }
}

// One line of how it ended, unless that was asked for; and what it had in its hands.
void Supervisor::account_end(const RoleProcess& role, const RoleExit& end) {
  const std::string who = role.role + " (pid " + std::to_string(role.pid()) + ")";
  const std::string after = " after " + duration_text(now_ - role.started);
  if (role.state == RoleState::DRAINING && end.clean) {
    if (!stopping_) log_.note(who + " has drained and ended" + after);
    return;
  }
  std::string text = who + " " + end.text() + after;
  if (!role.kill_reason.empty()) text = who + " was killed" + after + ": " + role.kill_reason;
  record(role.role).last_end = text;
  log_.error(text);
  if (role.role != "server") return;
  const std::vector<InFlightRequest> open = journals_->in_flight(role.journal_set);
  note_server_end(role, end, open);
  note_open_requests(role, open);
  tell_open_requests(OPEN_REQUEST_LINES);
}

// Each of them, however many: what a turn does not get told is told in the next.
void Supervisor::note_open_requests(const RoleProcess& role, const std::vector<InFlightRequest>& open) {
  if (open.empty()) return;
  open_lines_.push_back(std::to_string(open.size()) + (open.size() == 1 ? " request was" : " requests were") +
                        " open in pid " + std::to_string(role.pid()) + ":");
  for (const InFlightRequest& request : open) {
    std::string line = "open request: client " + address_text(request.client) + " stage " +
                       std::string(STAGE_NAMES[static_cast<size_t>(request.stage)]) + " for " +
                       duration_text(now_ - request.begin);
    if (request.method.empty()) {
      line += " head \"" + escape_line(request.excerpt, 200) + "\"";
    } else {
      line += " " + request.method + " " + escape_line(request.target, 1000) + " host " + request.host;
    }
    if (request.torn) line += " (its record was being written)";
    open_lines_.push_back(std::move(line));
  }
}

void Supervisor::tell_open_requests(size_t lines) {
  for (; lines > 0 && !open_lines_.empty(); --lines) {
    log_.error(open_lines_.front());
    open_lines_.pop_front();
  }
}

void Supervisor::restart_later(const std::string& role, MonoTime started) {
  RoleRecord& fate = record(role);
  const Duration pause = fate.backoff.died(started, now_);
  fate.restart_at = now_ + pause;
  if (fate.backoff.crash_loop()) {
    log_.warn(role + " has died " + std::to_string(fate.backoff.short_lives()) +
              " times in a row soon after its start; backing off: the next try is in " + duration_text(pause));
  }
  if (pause.ns == 0) restart_due(now_);  // at once: connections are waiting in the listeners
  tell_status();
}

void Supervisor::restart_due(MonoTime now) {
  for (const char* role : {"server", "logd", "keyd"}) {
    RoleRecord& fate = record(role);
    if (fate.restart_at > now || stopping_) continue;
    const bool server = role == std::string_view("server");
    if (server && !free_journal_set()) {  // two are draining: the first to end makes room
      fate.restart_at = now + ROOM_AGAIN;
      continue;
    }
    fate.restart_at = MonoTime::never();
    if (role == std::string_view("keyd") && key_files_.empty()) continue;
    ++fate.restarts;
    const Status ok = server                             ? spawn_server(tree_, nullptr)
                      : role == std::string_view("keyd") ? spawn_keyd()
                                                         : spawn_logd();
    if (!ok) {
      log_.error(ok.error().message);
      fate.restart_at = now + fate.backoff.died(now, now);
    }
  }
}

}  // namespace penstock
