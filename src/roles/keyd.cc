// The key role: enter the sandbox, then sign for servers; a thread for each of their channels, this one for the
// supervisor.
//
// Least privilege: it opens no file (the supervisor opens the key files that the configuration names and hands over
// descriptors), knows no address, and believes nothing that servers say. Its memory is locked, not dumpable, and what
// OpenSSL frees is wiped. It signs nothing but the handshakes of TLS servers (src/tls/key_request.h).
//
// Threads are not joined: one that a hostile server keeps from running must keep nobody else. A desk that is done, or
// was closed, lives on until the process ends or its thread does.

#include "src/roles/keyd.h"

#include "src/admin/key_messages.h"
#include "src/admin/role_sandbox.h"
#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/base/doorbell.h"
#include "src/roles/patience.h"
#include "src/tls/key_desk.h"
#include "src/tls/key_store.h"
#include "src/tls/wiping_memory.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <poll.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace penstock {
namespace {

// A channel and its thread.
class Desk {
 public:
  Desk(KeyDesk desk, uint32_t server, KeySigner& signer, int bell)
      : desk_(std::move(desk)), server_(server), signer_(signer), bell_(bell) {}

  void run() {
    while (!closed_.load(std::memory_order_acquire)) {
      const KeyDesk::Turn turn = desk_.serve(signer_);
      if (turn == KeyDesk::Turn::BREACH) break;
      if (turn == KeyDesk::Turn::IDLE) desk_.wait();
    }
    const int bell = bell_;
    done_.store(true, std::memory_order_release);  // from here on it may be gone
    (void)ring_bell(bell);
  }

  void close() {
    closed_.store(true, std::memory_order_release);
    desk_.wake();
  }
  void wake() { desk_.wake(); }
  [[nodiscard]] bool done() const { return done_.load(std::memory_order_acquire); }
  [[nodiscard]] uint32_t server() const { return server_; }
  [[nodiscard]] const char* breach() const { return desk_.breach(); }  // REQUIRES: done()

 private:
  KeyDesk desk_;
  uint32_t server_;
  KeySigner& signer_;
  int bell_;
  std::atomic<bool> closed_{false};
  std::atomic<bool> done_{false};
};

class KeyRole {
 public:
  explicit KeyRole(int channel_fd) : channel_(UniqueFd(channel_fd), ChannelSide::ROLE) {}

  int run() {
    if (Status started = start(); !started) {
      tell(started.error().message);
      return 1;
    }
    while (!done_) turn();
    return exit_code_;
  }

 private:
  Status start();
  void turn();
  Status obey(ChannelMessage message);
  Status open_channels(ChannelMessage message);
  void close_channels(uint32_t server);
  void read_file(KeyFile file);
  void ask_for_files();
  void sweep();
  void end(int exit_code) {
    done_ = true;
    exit_code_ = exit_code;
  }
  void tell(const std::string& line) { (void)channel_.send_wait(MessageKind::LOG, 0, line, SEND_PATIENCE); }

  RealClock clock_;
  Channel channel_;
  UniqueFd bell_;  // rung by desks that have ended, and by the store when it wants a file
  std::unique_ptr<KeyStore> store_;
  std::vector<std::unique_ptr<Desk>> desks_;
  bool done_ = false;
  int exit_code_ = 0;
};

Status KeyRole::start() {
  if (Status wiping = start_wiping_openssl(); !wiping) return wiping;
  Result<RoleStart> start = receive_start(channel_);
  if (!start) return std::unexpected(start.error());
  bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell_.valid()) return fail_errno("eventfd");
  store_ = std::make_unique<KeyStore>(clock_, bell_.get());
  const Result<SandboxReport> report = enter_sandbox(role_sandbox(*start, Settings{}));
  if (!report) return std::unexpected(report.error());
  return channel_.send_wait(MessageKind::READY, 0, encode_ready(ready_report(*report, "")), SEND_PATIENCE);
}

void KeyRole::turn() {
  const MonoTime now = clock_.now();
  const Duration wait = std::clamp(store_->expire(now) - now, milliseconds(1), WAIT_MAX);
  pollfd fds[] = {{.fd = channel_.fd(), .events = POLLIN, .revents = 0},
                  {.fd = bell_.get(), .events = POLLIN, .revents = 0}};
  (void)::poll(fds, 2, static_cast<int>(wait.ms() + 1));  // an interrupted wait is a short one
  uint64_t rung = 0;
  [[maybe_unused]] const ssize_t n = ::read(bell_.get(), &rung, sizeof rung);
  while (!done_) {
    Result<std::optional<ChannelMessage>> message = channel_.receive();
    if (!message) return end(1);  // the supervisor has gone
    if (!*message) break;
    if (Status obeyed = obey(std::move(**message)); !obeyed) {
      tell(obeyed.error().message);
      return end(1);
    }
  }
  ask_for_files();
  sweep();
}

Status KeyRole::obey(ChannelMessage message) {
  switch (message.kind) {
    case MessageKind::KEY_FILES: {
      auto files = decode_key_files(message);
      if (!files) return std::unexpected(files.error());
      store_->set_files(*files);
      for (const auto& desk : desks_) desk->wake();  // what waited for a file that is gone is answered
      return {};
    }
    case MessageKind::KEY_FILE: {
      auto file = decode_key_file(std::move(message));
      if (!file) return std::unexpected(file.error());
      read_file(std::move(*file));
      return {};
    }
    case MessageKind::KEY_CHANNELS:
      return open_channels(std::move(message));
    case MessageKind::KEY_CHANNELS_GONE:
      close_channels(static_cast<uint32_t>(parse_decimal(message.payload).value_or(0)));
      return {};
    case MessageKind::QUERY:
      return channel_.send_wait(MessageKind::REPLY, message.id, R"({"error":"keyd has no questions"})", SEND_PATIENCE);
    case MessageKind::PING:
      return channel_.send_wait(MessageKind::PONG, message.id, {}, SEND_PATIENCE);
    case MessageKind::DRAIN:  // the servers that it signed for are gone, or have another
      (void)channel_.send_wait(MessageKind::DRAINED, 0, {}, SEND_PATIENCE);
      end(0);
      return {};
    default:
      return {};  // the channel lets nothing else through to keyd
  }
}

Status KeyRole::open_channels(ChannelMessage message) {
  auto channels = decode_key_channels(std::move(message));
  if (!channels) return std::unexpected(channels.error());
  for (size_t i = 0; i + 1 < channels->fds.size(); i += 2) {
    auto desk = KeyDesk::open(std::move(channels->fds[i]), std::move(channels->fds[i + 1]));
    if (!desk) return std::unexpected(desk.error());
    desks_.push_back(std::make_unique<Desk>(std::move(*desk), channels->server, *store_, bell_.get()));
    std::thread([one = desks_.back().get()] { one->run(); }).detach();
  }
  return {};
}

void KeyRole::close_channels(uint32_t server) {
  for (const auto& desk : desks_) {
    if (desk->server() == server) desk->close();
  }
}

void KeyRole::read_file(KeyFile file) {
  std::vector<std::string> notes;
  store_->deliver(file.file, file.fd.valid() ? Result<int>(file.fd.get()) : fail(file.problem), file.kept.get(), notes);
  file.fd.reset();  // nothing of it is open when the first signature is made
  file.kept.reset();
  for (const std::string& note : notes) tell(note);
  for (const auto& desk : desks_) desk->wake();
}

void KeyRole::ask_for_files() {
  for (const std::string& file : store_->take_wanted()) {
    (void)channel_.send_wait(MessageKind::KEY_NEED, 0, file, SEND_PATIENCE);
  }
}

// Lets go of desks whose threads have ended, and says which servers did what they must not.
void KeyRole::sweep() {
  std::vector<uint32_t> broken;
  std::erase_if(desks_, [&](const std::unique_ptr<Desk>& desk) {
    if (!desk->done()) return false;
    if (desk->breach() != nullptr) {
      (void)channel_.send_wait(MessageKind::KEY_BREACH, 0, encode_key_breach({desk->server(), desk->breach()}),
                               SEND_PATIENCE);
      broken.push_back(desk->server());
    }
    return true;
  });
  for (const uint32_t server : broken) close_channels(server);
}

}  // namespace

int run_keyd(int channel_fd) {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  KeyRole role(channel_fd);
  ::_exit(role.run());  // not by way of the destructors: the desks' threads still use what they would destroy
}

}  // namespace penstock
