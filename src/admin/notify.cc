#include "src/admin/notify.h"

#include "src/base/bytes.h"

#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr int FIRST_ACTIVATED_FD = 3;  // SD_LISTEN_FDS_START
constexpr uint64_t ACTIVATED_MAX = 1024;

}  // namespace

void ServiceNotifier::send(std::string_view message) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() < 2 || path_.size() >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  if (path_[0] == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // Nothing to be done about a manager that does not listen.
  [[maybe_unused]] const ssize_t n = ::sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
                                              reinterpret_cast<const sockaddr*>(&address), length);
}

void ServiceNotifier::ready(std::string_view status) { send("READY=1\nSTATUS=" + std::string(status)); }

void ServiceNotifier::reloading(MonoTime now) { send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(now.ns / 1'000)); }

void ServiceNotifier::stopping() { send("STOPPING=1"); }

void ServiceNotifier::status(std::string_view text) { send("STATUS=" + std::string(text)); }

Result<std::vector<ActivatedSocket>> take_activated_sockets(std::string_view listen_pid, std::string_view listen_fds,
                                                            std::string_view listen_fdnames) {
  std::vector<ActivatedSocket> sockets;
  const auto pid = parse_decimal(listen_pid);
  if (!pid || *pid != static_cast<uint64_t>(::getpid())) return sockets;  // for a parent of ours, or not at all
  const auto count = parse_decimal(listen_fds);
  if (!count || *count > ACTIVATED_MAX) return fail("LISTEN_FDS is not a number of descriptors");
  for (uint64_t i = 0; i < *count; ++i) {
    const int fd = FIRST_ACTIVATED_FD + static_cast<int>(i);
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return fail_errno("LISTEN_FDS: descriptor " + std::to_string(fd));
    const size_t end = listen_fdnames.find(':');
    sockets.push_back({UniqueFd(fd), std::string(listen_fdnames.substr(0, end))});
    listen_fdnames = end == std::string_view::npos ? std::string_view() : listen_fdnames.substr(end + 1);
  }
  return sockets;
}

}  // namespace penstock
