// How a socket is given a key, so that the kernel seals what is sent on it (kTLS, Documentation/networking/tls.rst).
// Which system call asks is the transport's affair. Cold path: twice a connection.
#pragma once

#include <cerrno>
#include <cstdint>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <span>
#include <sys/socket.h>

namespace penstock {

// A call of setsockopt(2) to be made.
struct SocketOption {
  int level;
  int name;
  const void* value;
  uint32_t size;
};

// `set_option` makes a call and gives 0 or the errno; so does this. `first`: the socket has had no key. `key` is what
// Transport::take_key() is given. Where the second call fails, the socket sends in plain as before.
template <typename SetOption>
[[nodiscard]] int give_kernel_key(std::span<const char> key, bool first, SetOption&& set_option) {
  static constexpr char PROTOCOL[] = "tls";
  if (first) {
    const int error = set_option(SocketOption{IPPROTO_TCP, TCP_ULP, PROTOCOL, sizeof PROTOCOL});
    if (error != 0) return error;
  }
  return set_option(SocketOption{SOL_TLS, TLS_TX, key.data(), static_cast<uint32_t>(key.size())});
}

[[nodiscard]] inline int set_socket_option(int fd, const SocketOption& option) {
  return ::setsockopt(fd, option.level, option.name, option.value, option.size) == 0 ? 0 : errno;
}

}  // namespace penstock
