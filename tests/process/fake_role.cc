// A stand-in for `penstock --role NAME --channel FD`: a real process on a real channel in the real sandbox, whose
// behaviour a test chooses by what it asks for. The supervisor cannot tell it from the server or from logd.
//
// GET /pid answers with its process id. /hold opens a journal record and answers when it is drained. /die aborts,
// /hang stops, /breach sends a packet that the protocol forbids, /forbidden makes a system call that the sandbox
// forbids, /renew asks to be replaced. Configurations: server.backlog = 666 is refused, 667 makes it exit;
// a site header X-Fake: crash makes every start fail.
#include "src/admin/channel.h"
#include "src/admin/role_sandbox.h"
#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/config/tree.h"
#include "src/log/journal.h"

#include <array>
#include <csignal>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace penstock::test {
namespace {

constexpr Duration SEND_TIMEOUT = seconds(5);

struct Held {
  UniqueFd fd;
  JournalSlot slot;
};

class FakeRole {
 public:
  explicit FakeRole(int fd) : channel_(UniqueFd(fd), ChannelSide::ROLE) {}

  int run() {
    if (!start()) return 1;
    while (!exit_code_) turn();
    return *exit_code_;
  }

 private:
  bool start() {
    auto start = receive_start(channel_);
    if (!start) return false;
    const auto tree = Tree::from_text(start->config_text, "HELLO", start->generation);
    if (!tree || crashes(*tree)) return false;
    for (RoleListener& listener : start->listeners) listeners_.emplace(listener.id, std::move(listener.fd));
    if (start->role == "server") {
      auto map = JournalMap::map(start->journals[0].get(), start->journals[1].get(), JournalAccess::REACTOR);
      if (!map) return false;
      map_.emplace(std::move(*map));
      journal_.emplace(*map_, -1);
      (void)journal_->close_abandoned(clock_.now(), 0);
    }
    const auto report = enter_sandbox(role_sandbox(*start, tree->settings()));
    if (!report) return false;
    return channel_.send_wait(MessageKind::READY, 0, encode_ready(ready_report(*report, "fake")), SEND_TIMEOUT)
        .has_value();
  }

  static bool crashes(const Tree& tree) {
    for (const SiteSettings& site : tree.settings().sites) {
      for (const NamedValue& header : site.headers) {
        if (header.name == "X-Fake" && header.value == "crash") return true;
      }
    }
    return false;
  }

  void turn() {
    std::vector<pollfd> polls = {{channel_.fd(), POLLIN, 0}};
    if (!draining_) {
      for (const auto& [id, fd] : listeners_) polls.push_back({fd.get(), POLLIN, 0});
    }
    ::poll(polls.data(), polls.size(), -1);
    if (polls[0].revents != 0) take_message();
    for (size_t i = 1; i < polls.size() && !draining_; ++i) {
      if (polls[i].revents != 0) accept_one(polls[i].fd);
    }
  }

  void take_message() {
    auto message = channel_.receive();
    if (!message) {
      exit_code_ = 1;
      return;
    }
    if (!message->has_value()) return;
    const uint32_t id = (*message)->id;
    switch ((*message)->kind) {
      case MessageKind::CONFIG:
        return configure(std::move(**message));
      case MessageKind::PING:
        return say(MessageKind::PONG, id, {});
      case MessageKind::QUERY:
        return say(MessageKind::REPLY, id, "{\"asked\":" + (*message)->payload + "}");
      case MessageKind::ROTATE:
        return say(MessageKind::REPLY, id, "{}");
      case MessageKind::DRAIN:
        draining_ = true;
        for (Held& held : held_) {
          answer(held.fd.get(), "held");
          journal_->end(held.slot, clock_.now(), {});
        }
        held_.clear();
        say(MessageKind::DRAINED, 0, {});
        exit_code_ = 0;
        return;
      default:
        return;
    }
  }

  void configure(ChannelMessage message) {
    const uint32_t id = message.id;
    auto config = decode_config(std::move(message));
    if (!config) return say(MessageKind::CONFIG_FAILED, id, config.error().message);
    const auto tree = Tree::from_text(config->config_text, "CONFIG", config->generation);
    if (!tree) return say(MessageKind::CONFIG_FAILED, id, to_text(tree.error()));
    if (tree->settings().server_backlog == 666) return say(MessageKind::CONFIG_FAILED, id, "666 is not liked");
    if (tree->settings().server_backlog == 667) std::_Exit(3);
    std::map<uint32_t, UniqueFd> next;
    for (RoleListener& listener : config->listeners) {
      const auto known = listeners_.find(listener.id);
      next.emplace(listener.id, known != listeners_.end() ? std::move(known->second) : std::move(listener.fd));
    }
    listeners_ = std::move(next);
    say(MessageKind::CONFIG_OK, id, {});
  }

  void accept_one(int listener) {
    UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.valid()) return;
    std::array<char, 4096> bytes;
    const ssize_t n = ::recv(fd.get(), bytes.data(), bytes.size(), 0);
    if (n <= 0) return;
    const std::string_view head(bytes.data(), static_cast<size_t>(n));
    const std::string_view path = head.substr(0, head.find(' ', 4)).substr(4);
    if (path == "/die") std::abort();
    if (path == "/hang") ::pause();
    if (path == "/forbidden") (void)::socket(AF_INET, SOCK_STREAM, 0);
    if (path == "/breach") (void)::send(channel_.fd(), "nonsense", 8, 0);
    if (path == "/renew") say(MessageKind::RENEW, 0, "the root\nhas moved");
    if (path != "/hold") return answer(fd.get(), std::to_string(::getpid()));
    ConnectionFacts facts;
    Held held{std::move(fd), journal_->begin(clock_.now(), facts, 1, 1, head)};
    journal_->head(held.slot, head, {head.substr(0, 3), path, head.substr(head.find("test"), 4), "", ""});
    held_.push_back(std::move(held));
  }

  static void answer(int fd, const std::string& body) {
    const std::string text = "HTTP/1.0 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    (void)::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }

  void say(MessageKind kind, uint32_t id, std::string_view payload) {
    if (!channel_.send_wait(kind, id, payload, SEND_TIMEOUT)) exit_code_ = 1;
  }

  RealClock clock_;
  Channel channel_;
  std::map<uint32_t, UniqueFd> listeners_;
  std::optional<JournalMap> map_;
  std::optional<Journal> journal_;
  std::vector<Held> held_;
  bool draining_ = false;
  std::optional<int> exit_code_;
};

}  // namespace
}  // namespace penstock::test

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const auto fd = penstock::parse_decimal(argv[4]);
  return fd ? penstock::test::FakeRole(static_cast<int>(*fd)).run() : 2;
}
