// The service manager's side: readiness notification (sd_notify(3)) and socket activation (sd_listen_fds(3)).
//
// Both protocols are a datagram and three environment variables, spoken here directly: no library is loaded into the
// privileged process for them. Used by the supervisor only. Without a service manager every call does nothing.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class ServiceNotifier {
 public:
  // `socket_path` is $NOTIFY_SOCKET: an absolute path, or '@' and an abstract name; empty: nobody listens.
  explicit ServiceNotifier(std::string socket_path) : path_(std::move(socket_path)) {}

  void ready(std::string_view status);
  void reloading(MonoTime now);  // Type=notify-reload wants the monotonic time with it
  void stopping();
  void status(std::string_view text);

 private:
  void send(std::string_view message);
  std::string path_;
};

// A socket that the service manager opened for us.
struct ActivatedSocket {
  UniqueFd fd;
  std::string name;  // FileDescriptorName= of the socket unit, or ""
};

// The sockets passed to this process; empty if none were, or if they were meant for another process.
// The values of LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES are parameters. Errors: a count that makes no sense.
[[nodiscard]] Result<std::vector<ActivatedSocket>> take_activated_sockets(std::string_view listen_pid,
                                                                          std::string_view listen_fds,
                                                                          std::string_view listen_fdnames);

}  // namespace penstock
