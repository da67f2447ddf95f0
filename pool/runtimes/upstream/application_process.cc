#include "pool/runtimes/upstream/application_process.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr Duration BACKOFF_MIN = milliseconds(100);
constexpr Duration BACKOFF_MAX = seconds(10);
constexpr Duration GOOD_LIFE = seconds(10);  // who lived so long starts again at once
constexpr int BACKLOG = 511;

// A directory that only this user can enter: where the environment says, here, or in /tmp.
Result<std::string> private_directory() {
  const char* const given = std::getenv("TMPDIR");
  std::string reasons;
  for (const std::string& parent :
       {std::string(given != nullptr ? given : ""), std::string("."), std::string("/tmp")}) {
    if (parent.empty()) continue;
    std::string path = parent + "/penstock-upstream-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) {
      reasons += (reasons.empty() ? "" : "; ") + fail_errno("mkdtemp " + path).error().message;
      continue;
    }
    char* const whole = ::realpath(path.c_str(), nullptr);
    const std::string absolute = whole != nullptr ? whole : path;
    std::free(whole);
    return absolute;
  }
  return fail(reasons);
}

}  // namespace

ApplicationProcess::ApplicationProcess(const UpstreamSettings& settings, RuntimeLoop& loop, ErrorOutput& errors)
    : settings_(settings), loop_(loop), errors_(errors), lines_(errors, "[application] "), backoff_(BACKOFF_MIN) {}

Result<std::unique_ptr<ApplicationProcess>> ApplicationProcess::start(const UpstreamSettings& settings,
                                                                      RuntimeLoop& loop, ErrorOutput& errors) {
  std::unique_ptr<ApplicationProcess> application(new ApplicationProcess(settings, loop, errors));
  if (const Status listening = application->listen(); !listening) return std::unexpected(listening.error());
  if (const Status spawned = application->spawn(); !spawned) return std::unexpected(spawned.error());
  return application;
}

ApplicationProcess::~ApplicationProcess() {
  loop_.forget(child_watch_);
  loop_.forget(output_watch_);
  loop_.cancel(timer_);
  if (child_) {
    child_->signal_group(SIGTERM);
    pollfd waits{.fd = child_->pidfd(), .events = POLLIN, .revents = 0};
    (void)::poll(&waits, 1, 1'000);
  }
  if (directory_.empty()) return;
  ::unlink((directory_ + "/socket").c_str());
  ::rmdir(directory_.c_str());
}

Status ApplicationProcess::listen() {
  auto directory = private_directory();
  if (!directory) return std::unexpected(directory.error());
  directory_ = std::move(*directory);
  const std::string path = directory_ + "/socket";
  auto address = unix_upstream_address(path);
  if (!address) return std::unexpected(address.error());
  listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener_.valid()) return fail_errno("socket");
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address->raw), address->bytes) != 0) {
    return fail_errno("bind " + path);
  }
  if (::listen(listener_.get(), BACKLOG) != 0) return fail_errno("listen " + path);
  address_ = std::move(*address);
  node_.reset(::open(path.c_str(), O_PATH | O_CLOEXEC));
  auto nameless = unix_upstream_address("/proc/self/fd/" + std::to_string(node_.get()));
  struct stat info {};
  // Without /proc the name stays, in its private directory.
  if (!node_.valid() || !nameless || ::stat(reinterpret_cast<sockaddr_un&>(nameless->raw).sun_path, &info) != 0)
    return {};
  address_ = std::move(*nameless);
  ::unlink(path.c_str());
  ::rmdir(directory_.c_str());
  directory_.clear();
  return {};
}

Status ApplicationProcess::spawn() {
  MetaVariables variables;
  for (const auto& [name, value] : settings_.environment) variables.set(name, value);
  variables.set("PATH", "/usr/local/bin:/usr/bin:/bin");
  for (const char* const name : {"LANG", "HOME", "TMPDIR"}) {  // the pool's state, where it has one
    if (const char* const value = std::getenv(name); value != nullptr) variables.set(name, value);
  }
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno("pipe2");
  output_.reset(fds[0]);
  const UniqueFd theirs(fds[1]);
  (void)::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  auto child = ChildProcess::spawn({.program = settings_.start.front(),
                                    .words = settings_.start,
                                    .environment = variables.environment(),
                                    .in = listener_.get(),
                                    .out = theirs.get(),
                                    .err = theirs.get()});
  if (!child) return std::unexpected(child.error());
  child_.emplace(std::move(*child));
  started_ = loop_.now();
  auto watched = loop_.watch(child_->pidfd(), EPOLLIN, [this](uint32_t) { ended(); });
  if (watched) child_watch_ = *watched;
  auto reading = loop_.watch(output_.get(), EPOLLIN, [this](uint32_t) { read_output(); });
  if (reading) output_watch_ = *reading;
  if (watched && reading) return {};
  child_.reset();
  loop_.forget(child_watch_);
  return std::unexpected(watched ? reading.error() : watched.error());
}

void ApplicationProcess::read_output() {
  char room[4 * 1'024];
  const ssize_t size = ::read(output_.get(), room, sizeof room);
  if (size > 0) return lines_.feed({room, static_cast<size_t>(size)});
  if (size == 0) loop_.forget(output_watch_);
}

void ApplicationProcess::ended() {
  const auto exit = child_->poll();
  if (!exit) return;
  loop_.forget(child_watch_);
  while (output_watch_ != 0) {  // what it said last
    char room[4 * 1'024];
    const ssize_t size = ::read(output_.get(), room, sizeof room);
    if (size <= 0) break;
    lines_.feed({room, static_cast<size_t>(size)});
  }
  lines_.finish();
  loop_.forget(output_watch_);
  child_->reap();
  child_.reset();
  if (loop_.now() - started_ >= GOOD_LIFE) backoff_ = BACKOFF_MIN;
  errors_.line("penstock: ", settings_.start.front() + " " + exit->text() + "; it is started again in " +
                                 std::to_string(backoff_.ms()) + " ms");
  start_again(backoff_);
}

void ApplicationProcess::start_again(Duration wait) {
  backoff_ = std::min(backoff_ * 2, BACKOFF_MAX);
  timer_ = loop_.after(wait, [this] {
    const Status spawned = spawn();
    if (spawned) return;
    errors_.line("penstock: ", "cannot start the application: " + spawned.error().message);
    start_again(backoff_);
  });
}

}  // namespace penstock
