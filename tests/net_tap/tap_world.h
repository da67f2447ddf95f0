// TapWorld: an engine and Linux on the two ends of a TAP device, and what the tests do with Linux's sockets.
#pragma once

#include "tests/net_tap/kernel_net.h"
#include "tests/net_tap/tap_engine.h"

#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>

namespace penstock {

constexpr uint64_t MIB = 1'024 * 1'024;

struct TapOptions {
  uint64_t seed = 1;
  TapFaults faults;
  NetLimits limits = {.connections_max = 2'048,
                      .half_open_max = 256,
                      .send_pieces_max = 4'096,
                      .receive_holds_max = 3'072,
                      .holds_per_connection_max = 512,
                      .scoreboards_max = 64};
  NetTimes times;
};

// fd77:NET::HOST, in nets of 64 bits.
[[nodiscard]] IpAddress v6_address(uint8_t net, uint8_t host);

// A blocking socket of Linux; every wait has an end.
class LinuxSocket {
 public:
  LinuxSocket() = default;
  explicit LinuxSocket(int fd) : fd_(fd) { set_timeouts(); }
  explicit LinuxSocket(bool v6);

  [[nodiscard]] int fd() const { return fd_.get(); }
  // errno, or 0.
  [[nodiscard]] int connect(const IpAddress& to, uint16_t port) const;
  [[nodiscard]] int bind(const IpAddress& to, uint16_t port) const;
  [[nodiscard]] uint16_t local_port() const;
  void set(int level, int option, int value) const;
  [[nodiscard]] tcp_info info() const;
  // Of the text, from its beginning.
  [[nodiscard]] bool send_pattern(uint64_t size) const;
  [[nodiscard]] bool send_all(const void* bytes, size_t size) const;
  // Exactly so many bytes of the text, from `offset`.
  [[nodiscard]] bool receive_pattern(uint64_t size, uint64_t offset = 0) const;
  [[nodiscard]] bool receive_all(void* bytes, size_t size) const;
  // Whether the next thing is the peer's FIN.
  [[nodiscard]] bool at_end() const;
  [[nodiscard]] bool half_close() const { return ::shutdown(fd_.get(), SHUT_WR) == 0; }
  void close() { fd_.reset(); }

 private:
  void set_timeouts() const;
  UniqueFd fd_;
};

class TapWorld {
 public:
  static constexpr uint16_t MTU = 1'500;
  static const IpAddress OURS4, LINUX4, OURS6, LINUX6;

  explicit TapWorld(const TapOptions& options = {});
  // Empty: it stands. Else why it cannot.
  [[nodiscard]] const std::string& wrong() const { return wrong_; }
  [[nodiscard]] TapEngine& engine() { return *engine_; }
  [[nodiscard]] static const IpAddress& ours(bool v6) { return v6 ? OURS6 : OURS4; }

  [[nodiscard]] LinuxSocket connect(bool v6, TapService service);
  // `size` bytes of the text from the engine, to the FIN; and to it, and its word that they were right.
  [[nodiscard]] static bool download(const LinuxSocket& socket, uint64_t size);
  [[nodiscard]] static bool upload(const LinuxSocket& socket, uint64_t size);
  // Whether an echo request of `size` bytes comes back as it was.
  [[nodiscard]] static bool ping(bool v6, size_t size);
  // All is given back, but for TIME-WAIT.
  [[nodiscard]] bool at_rest();

 private:
  std::string wrong_;
  std::unique_ptr<TapEngine> engine_;
};

}  // namespace penstock
