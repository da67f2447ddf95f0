#include "src/admin/control_socket.h"

#include "src/admin/unix_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr uint64_t LISTENER = 0;

// The directory is made for the running user alone (root: readable, so that `ls /run/penstock` explains itself). One
// that exists must be ours or root's: in /tmp anybody could have put it there.
Status prepare_directory(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (path.empty() || path[0] != '/' || slash == 0) return {};
  const std::string dir = path.substr(0, slash);
  if (::mkdir(dir.c_str(), ::geteuid() == 0 ? 0755 : 0700) != 0 && errno != EEXIST) {
    return fail_errno("control socket: create " + dir);
  }
  return {};
}

Status check_directory(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (path.empty() || path[0] != '/' || slash == 0) return {};
  const std::string dir = path.substr(0, slash);
  struct stat st {};
  if (::stat(dir.c_str(), &st) != 0) return fail_errno("control socket: " + dir);
  const bool others_write = (st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (st.st_mode & S_ISVTX) == 0;
  if ((st.st_uid != ::geteuid() && st.st_uid != 0) || others_write) {
    return fail("control socket: " + dir + " can be written by others; name another place with --control");
  }
  return {};
}

}  // namespace

std::string default_control_path(uid_t uid, std::string_view xdg_runtime_dir) {
  if (uid == 0) return "/run/penstock/control.sock";
  if (!xdg_runtime_dir.empty() && xdg_runtime_dir[0] == '/') return std::string(xdg_runtime_dir) + "/penstock.sock";
  return "/tmp/penstock-" + std::to_string(uid) + "/control.sock";
}

Result<ControlSocket> ControlSocket::open(const std::string& path) {
  if (Status ok = prepare_directory(path); !ok) return std::unexpected(ok.error());
  if (Status ok = check_directory(path); !ok) return std::unexpected(ok.error());
  auto loop = EventLoop::open();
  if (!loop) return std::unexpected(loop.error());
  ControlSocket socket(std::move(*loop));
  auto listener = listen_unix(path, 0600, 16);
  struct stat st {};
  if (!listener && path[0] != '@' && ::stat(path.c_str(), &st) == 0 && !S_ISSOCK(st.st_mode)) {
    return fail("control socket: " + path + " is there, and is no socket; name another place with --control", EEXIST);
  }
  if (!listener && listener.error().code == EADDRINUSE) {
    return fail("an instance of penstock is already running with control socket " + path +
                    "; give this one another with --control PATH",
                EADDRINUSE);
  }
  if (!listener) return std::unexpected(listener.error());
  socket.listener_ = std::move(*listener);
  socket.path_ = path;
  if (Status ok = socket.loop_.watch(socket.listener_.get(), LISTENER); !ok) return std::unexpected(ok.error());
  return socket;
}

ControlSocket::~ControlSocket() {
  if (listener_.valid() && path_[0] == '/') ::unlink(path_.c_str());
}

void ControlSocket::drop(uint64_t id) {
  const auto it = clients_.find(id);
  if (it == clients_.end()) return;
  loop_.unwatch(it->second.fd.get());
  clients_.erase(it);
}

void ControlSocket::accept_all(MonoTime now) {
  for (;;) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) return;
    ucred peer{};
    socklen_t length = sizeof peer;
    const bool known = ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0;
    const char* refusal = nullptr;
    if (!known || (peer.uid != 0 && peer.uid != ::geteuid())) {
      refusal = "{\"ok\":false,\"error\":\"only root and the user that runs penstock may do this\"}\n";
    } else if (clients_.size() >= CLIENTS_MAX) {
      refusal = "{\"ok\":false,\"error\":\"busy: too many control connections\"}\n";
    }
    if (refusal != nullptr) {
      [[maybe_unused]] const ssize_t n =
          ::send(fd.get(), refusal, std::char_traits<char>::length(refusal), MSG_NOSIGNAL);
      continue;
    }
    const uint64_t id = next_id_++;
    Client client;
    client.uid = peer.uid;
    client.pid = peer.pid;
    client.deadline = now + IO_TIMEOUT;
    if (!loop_.watch(fd.get(), id)) continue;
    client.fd = std::move(fd);
    clients_.emplace(id, std::move(client));
  }
}

bool ControlSocket::read_some(uint64_t id, Client& client, std::vector<ControlRequest>& requests) {
  std::array<char, 64 * 1024> chunk;
  // A bounded number of reads a turn, so that one fast sender does not keep the others waiting.
  for (int round = 0; round < 16; ++round) {
    const ssize_t n = ::recv(client.fd.get(), chunk.data(), chunk.size(), 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return client.answering;  // it may have closed its sending half only
    if (client.answering) continue;       // surplus bytes behind a request are dropped
    const std::string_view got(chunk.data(), static_cast<size_t>(n));
    const size_t eol = got.find('\n');
    client.in.append(got.substr(0, eol));
    if (client.in.size() > REQUEST_BYTES_MAX) {
      constexpr std::string_view REFUSAL = "{\"ok\":false,\"error\":\"the request is too long\"}\n";
      [[maybe_unused]] const ssize_t sent = ::send(client.fd.get(), REFUSAL.data(), REFUSAL.size(), MSG_NOSIGNAL);
      return false;
    }
    if (eol != std::string_view::npos) {
      client.answering = true;
      client.deadline = MonoTime::never();  // now it is the supervisor's turn
      requests.push_back({id, client.uid, client.pid, std::move(client.in)});
      client.in.clear();
      // Only a hang-up is still of interest.
      return loop_.rewatch(client.fd.get(), id, 0).has_value();
    }
  }
  return true;
}

bool ControlSocket::write_some(uint64_t id, Client& client) {
  while (client.sent < client.out.size()) {
    const ssize_t n =
        ::send(client.fd.get(), client.out.data() + client.sent, client.out.size() - client.sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return loop_.rewatch(client.fd.get(), id, EPOLLOUT).has_value();
    if (n < 0) return false;
    client.sent += static_cast<size_t>(n);
  }
  return false;
}

std::vector<ControlRequest> ControlSocket::poll(MonoTime now) {
  std::vector<ControlRequest> requests;
  for (const EventLoop::Ready& ready : loop_.wait({})) {
    if (ready.token == LISTENER) {
      accept_all(now);
      continue;
    }
    const auto it = clients_.find(ready.token);
    if (it == clients_.end()) continue;
    Client& client = it->second;
    bool keep = true;
    if ((ready.events & EPOLLIN) != 0) keep = read_some(ready.token, client, requests);
    if (keep && (ready.events & EPOLLOUT) != 0) keep = write_some(ready.token, client);
    if (keep && (ready.events & (EPOLLHUP | EPOLLERR)) != 0) keep = false;
    if (!keep) drop(ready.token);
  }
  std::vector<uint64_t> late;
  for (const auto& [id, client] : clients_) {
    if (client.deadline <= now) late.push_back(id);
  }
  for (const uint64_t id : late) drop(id);
  return requests;
}

MonoTime ControlSocket::next_deadline() const {
  MonoTime next = MonoTime::never();
  for (const auto& [id, client] : clients_) next = std::min(next, client.deadline);
  return next;
}

void ControlSocket::reply(uint64_t client_id, std::string json, MonoTime now) {
  const auto it = clients_.find(client_id);
  if (it == clients_.end()) return;
  it->second.out = std::move(json);
  it->second.out += '\n';
  it->second.deadline = now + IO_TIMEOUT;
  if (!write_some(client_id, it->second)) drop(client_id);
}

}  // namespace penstock
