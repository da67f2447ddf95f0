// The server role: receive the start message, make the parts, enter the sandbox, serve, obey.
//
// This thread is the control thread: it talks to the supervisor and does the regular work. Requests are
// served by the reactor threads (src/server/), which never wait for it.

#include "src/roles/server.h"

#include "src/admin/role_paths.h"
#include "src/admin/role_sandbox.h"
#include "src/base/bytes.h"
#include "src/roles/patience.h"
#include "src/roles/server_pools.h"
#include "src/roles/server_queries.h"
#include "src/server/process.h"

#include <csignal>
#include <cstdio>
#include <poll.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr int TICK_MS = 100;

class ServerRole {
 public:
  explicit ServerRole(int channel_fd) : channel_(UniqueFd(channel_fd), ChannelSide::ROLE) {}

  int run() {
    if (Status started = start(); !started) {
      tell(started.error().message);
      return 1;
    }
    while (!done_) turn();
    process_.stop_reactors();
    return exit_code_;
  }

 private:
  Status start();
  void turn();
  void take_messages();
  void obey(ChannelMessage message);
  void obey_config(ChannelMessage message);
  void begin_drain(const ChannelMessage& message);
  void watch_drain();
  void tell(const std::string& line) { (void)channel_.send_wait(MessageKind::LOG, 0, line, SEND_PATIENCE); }
  void tell_all() {
    for (const std::string& note : notes_) tell(note);
    notes_.clear();
  }
  void lose_supervisor() {
    done_ = true;
    exit_code_ = 1;
  }

  Channel channel_;
  ServerProcess process_;
  ServerPools pools_{process_, channel_};
  UniqueFd doorbell_;
  std::vector<std::string> notes_;
  std::vector<std::string> reach_;  // what Landlock lets us read
  bool draining_ = false;
  bool applying_ = false;  // a configuration, whose certificates are looked at
  bool done_ = false;
  int exit_code_ = 0;
  MonoTime drain_until_;
};

std::vector<ServerListener> take_listeners(std::vector<RoleListener>& from) {
  std::vector<ServerListener> listeners;
  for (RoleListener& listener : from) {
    listeners.push_back(
        {.id = listener.id,
         .reactor = listener.reactor == RoleListener::ANY_REACTOR ? ServerListener::ANY_REACTOR : listener.reactor,
         .tls = listener.tls,
         .fd = std::move(listener.fd)});
  }
  return listeners;
}

Status ServerRole::start() {
  Result<RoleStart> start = receive_start(channel_);
  if (!start) return std::unexpected(start.error());
  Result<Tree> tree = supervisor_tree(start->config_text, start->generation);
  if (!tree) return std::unexpected(tree.error());

  doorbell_ = std::move(start->doorbell);
  reach_ = server_read_paths(tree->settings());
  ServerOptions options{.reactors = start->reactors,
                        .journals = std::move(start->journals),
                        .doorbell_fd = doorbell_.get(),
                        .key_channels = std::move(start->key_channels),
                        .certificates = std::move(start->certificates),
                        .certificates_are_new = start->certificates_are_new,
                        .ticket_keys = std::move(start->ticket_keys),
                        .kernel_tap = std::move(start->kernel_tap),
                        .port_heard_by_two = start->port_heard_by_two,
                        .connections = std::move(start->connections),
                        .place = start->place};
  if (Status prepared = process_.prepare(*tree, std::move(options), notes_); !prepared) return prepared;
  SandboxProfile profile = role_sandbox(*start, tree->settings());
  profile.other_threads = process_.driver_threads();
  profile.in_other_threads = [this](const std::function<void()>& job) { return process_.run_in_driver_threads(job); };
  Result<SandboxReport> entered = enter_sandbox(profile);
  if (!entered) return std::unexpected(entered.error());
  if (Status started = process_.start(notes_); !started) return started;
  tell_all();
  // None is taken away yet. Beside a server that lets go when it hears of us, we answer before: else nobody would for a
  // moment.
  const bool beside = start->port_heard_by_two;
  if (beside) {
    (void)process_.set_listeners(take_listeners(start->listeners));
    (void)(process_.turn_over() && process_.turn_over());  // the first may have looked just before
  }
  // Otherwise before anybody is served: who got an answer may ask the supervisor about this server.
  Status told = channel_.send_wait(MessageKind::READY, 0,
                                   encode_ready(ready_report(*entered, process_.transport_name())), SEND_PATIENCE);
  if (told && !beside) (void)process_.set_listeners(take_listeners(start->listeners));
  return told;
}

void ServerRole::turn() {
  pollfd waits[] = {{.fd = channel_.fd(), .events = POLLIN, .revents = 0},
                    {.fd = pools_.wake_fd(), .events = POLLIN, .revents = 0},
                    {.fd = process_.wake_fd(), .events = POLLIN, .revents = 0}};
  (void)::poll(waits, 3, draining_ ? TICK_MS / 10 : TICK_MS);  // an interrupted wait is a short one
  take_messages();
  if (done_) return;
  process_.maintain(notes_);
  if (draining_) watch_drain();
}

void ServerRole::take_messages() {
  while (!done_) {
    Result<std::optional<ChannelMessage>> message = channel_.receive();
    if (!message) return lose_supervisor();
    if (!*message) break;
    obey(std::move(**message));
  }
  pools_.tell(notes_);
  tell_all();
}

void ServerRole::obey(ChannelMessage message) {
  switch (message.kind) {
    case MessageKind::CONFIG:
      obey_config(std::move(message));
      break;
    case MessageKind::QUERY:
      (void)channel_.send_wait(MessageKind::REPLY, message.id, answer_query(process_, message.payload), SEND_PATIENCE);
      break;
    case MessageKind::DRAIN:
      begin_drain(message);
      break;
    case MessageKind::TAKE_OVER:
      process_.accept_again();
      break;
    case MessageKind::PORT_HEARD:
      if (process_.set_port_heard_by_two(message.payload == "1"))
        (void)channel_.send_wait(MessageKind::PORT_HEARD_OK, message.id, {}, SEND_PATIENCE);
      break;
    case MessageKind::TICKET_KEYS:
      process_.set_ticket_keys(message.payload);
      break;
    case MessageKind::PING:
      if (process_.turn_over()) (void)channel_.send_wait(MessageKind::PONG, message.id, {}, SEND_PATIENCE);
      break;
    default:
      (void)pools_.obey(message, notes_);  // the channel lets nothing else through to a server
  }
}

void ServerRole::obey_config(ChannelMessage message) {
  const uint32_t id = message.id;
  const auto refuse = [&](const std::string& why) {
    (void)channel_.send_wait(MessageKind::CONFIG_FAILED, id, why, SEND_PATIENCE);
  };
  if (applying_) return refuse("another configuration is being looked at");
  Result<RoleConfig> config = decode_config(std::move(message));
  if (!config) return refuse(config.error().message);
  Result<Tree> tree = supervisor_tree(config->config_text, config->generation);
  if (!tree) return refuse(tree.error().message);
  if (!paths_covered(reach_, server_read_paths(tree->settings()))) {
    return refuse("this process cannot reach the new roots; its sandbox cannot be widened");
  }
  // Thousands of certificates take a while, in which all else goes on.
  const auto between = [this] {
    take_messages();
    return !done_;
  };
  applying_ = true;
  const Status applied = process_.apply(*tree, config->certificates, notes_, between);
  applying_ = false;
  if (!applied) return refuse(applied.error().message);
  if (!process_.set_listeners(take_listeners(config->listeners))) {
    notes_.push_back("a reactor does not let go of the addresses that were taken away");
  }
  tell_all();
  (void)channel_.send_wait(MessageKind::CONFIG_OK, id, {}, SEND_PATIENCE);
}

void ServerRole::begin_drain(const ChannelMessage& message) {
  const std::optional<uint64_t> wanted_ms = parse_decimal(message.payload);
  draining_ = true;
  drain_until_ = process_.now() + milliseconds(static_cast<int64_t>(wanted_ms.value_or(0)));
  // Where a reactor hangs, our end says it.
  if (process_.drain()) (void)channel_.send_wait(MessageKind::LET_GO, 0, {}, SEND_PATIENCE);
}

void ServerRole::watch_drain() {
  if (!process_.finished() && process_.now() < drain_until_) return;
  process_.stop_reactors();
  (void)channel_.send_wait(MessageKind::DRAINED, 0, {}, SEND_PATIENCE);
  done_ = true;
}

}  // namespace

int run_server(int channel_fd) {
  ::signal(SIGPIPE, SIG_IGN);
  // Ctrl-C in a terminal reaches every process of the group: what it means is for the supervisor to say.
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  ServerRole role(channel_fd);
  // Not by way of the destructors, see ~ServerProcess: all that outlives this process is in the journal already.
  ::_exit(role.run());
}

}  // namespace penstock
