#include "src/admin/unix_socket.h"

#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace penstock {
namespace {

struct UnixAddress {
  sockaddr_un raw{};
  socklen_t length = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&raw); }
};

Result<UnixAddress> unix_address(const std::string& name) {
  UnixAddress address;
  address.raw.sun_family = AF_UNIX;
  if (name.size() < 2) return fail("unix socket without a name");
  // One byte is left for the terminating zero of a path.
  if (name.size() >= sizeof address.raw.sun_path) {
    return fail(
        "unix socket name is longer than " + std::to_string(sizeof address.raw.sun_path - 1) + " bytes: " + name,
        ENAMETOOLONG);
  }
  std::memcpy(address.raw.sun_path, name.data(), name.size());
  const bool abstract = name[0] == '@';
  if (abstract) address.raw.sun_path[0] = '\0';
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 0 : 1));
  return address;
}

// A socket file is stale when it is a socket and nobody answers. True if it was removed.
bool remove_stale(const std::string& name, const UnixAddress& address) {
  struct stat st {};
  if (name[0] == '@' || ::lstat(name.c_str(), &st) != 0 || !S_ISSOCK(st.st_mode)) return false;
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(probe.get(), address.get(), address.length) == 0) return false;
  return errno == ECONNREFUSED && ::unlink(name.c_str()) == 0;
}

}  // namespace

Result<UniqueFd> listen_unix(const std::string& name, mode_t mode, int backlog) {
  const auto address = unix_address(name);
  if (!address) return std::unexpected(address.error());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return fail_errno("socket");
  // The file is born closed to others: it has its final permissions before anybody can connect (listen comes last).
  const mode_t mask = ::umask(0177);
  int rc = ::bind(fd.get(), address->get(), address->length);
  if (rc != 0 && errno == EADDRINUSE && remove_stale(name, *address)) {
    rc = ::bind(fd.get(), address->get(), address->length);
  }
  const int error = errno;
  ::umask(mask);
  if (rc != 0) return fail_errno("listen on unix:" + name, error);
  if (name[0] != '@' && ::chmod(name.c_str(), mode) != 0) return fail_errno("chmod " + name);
  if (::listen(fd.get(), backlog) != 0) return fail_errno("listen on unix:" + name);
  return fd;
}

Result<UniqueFd> connect_unix(const std::string& name) {
  const auto address = unix_address(name);
  if (!address) return std::unexpected(address.error());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail_errno("socket");
  if (::connect(fd.get(), address->get(), address->length) != 0) return fail_errno("connect to " + name);
  return fd;
}

}  // namespace penstock
