#include "src/transport/socket_address.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

namespace penstock {

PeerAddress from_socket_address(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_UNIX) return {.family = AF_UNIX};
  sockaddr_in6 address{};
  std::memcpy(&address, &storage, sizeof address);
  return to_peer_address(address);
}

PeerAddress to_peer_address(const sockaddr_in6& address) {
  PeerAddress result;
  if (address.sin6_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    result.family = AF_INET;
    result.port = ntohs(v4.sin_port);
    std::memcpy(result.ip, &v4.sin_addr, 4);
  } else if (address.sin6_family == AF_INET6) {
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&address.sin6_addr) != 0;
    result.family = mapped ? AF_INET : AF_INET6;
    result.port = ntohs(address.sin6_port);
    const auto* bytes = reinterpret_cast<const uint8_t*>(&address.sin6_addr);
    std::memcpy(result.ip, mapped ? bytes + 12 : bytes, mapped ? 4 : 16);
  }
  return result;
}

PeerAddress peer_address(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return from_socket_address(storage);
}

PeerAddress own_address(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return from_socket_address(storage);
}

bool is_wildcard(const PeerAddress& address) {
  return address.family != AF_UNIX && std::ranges::all_of(address.ip, [](uint8_t byte) { return byte == 0; });
}

uint64_t unsent_bytes(int fd) {
  int bytes = 0;
  return ::ioctl(fd, TIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<uint64_t>(bytes) : 0;
}

Result<PeerAddress> prepare_listener(int fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0) {
    return fail_errno("listener descriptor " + std::to_string(fd));
  }
  if (listening == 0) return fail("listener descriptor " + std::to_string(fd) + " is not listening", EINVAL);
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return fail_errno("setting O_NONBLOCK");
  const PeerAddress bound = own_address(fd);
  if (bound.family == AF_UNIX) return bound;
  // Every send of ours is a whole answer or says MSG_MORE: Nagle's algorithm could only delay its tail.
  const int on = 1;
  if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) return fail_errno("setting TCP_NODELAY");
  return bound;
}

}  // namespace penstock
