// ControlSocket: where `penstock status`, `sysctl`, `cache` … speak to the running instance.
//
// A unix stream socket; one JSON object on one line in, one out, then the connection is closed. Owned by the
// supervisor, used by its thread. Only root and the supervisor's own user are heard (SO_PEERCRED); a client that sends
// too much, too slowly, or does not read its answer is dropped at its deadline, and at the limit of clients a new one
// is answered "busy": nobody can make the supervisor wait.
#pragma once

#include "src/admin/event_loop.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"
#include "src/config/parse.h"

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <unordered_map>
#include <vector>

namespace penstock {

struct ControlRequest {
  uint64_t client = 0;  // for reply()
  uid_t uid = 0;
  pid_t pid = 0;
  std::string text;  // one line, without its end
};

class ControlSocket {
 public:
  static constexpr size_t CLIENTS_MAX = 64;
  static constexpr size_t REQUEST_BYTES_MAX = 2 * CONFIG_TEXT_BYTES_MAX + 64 * 1024;  // sysctl -p of it, escaped
  static constexpr Duration IO_TIMEOUT = seconds(10);  // for a request to arrive, for an answer to leave

  // Listens at `path` (created with its directory if that is missing; a stale socket file is reclaimed).
  // Error.code EADDRINUSE: an instance is running there.
  [[nodiscard]] static Result<ControlSocket> open(const std::string& path);
  ControlSocket(ControlSocket&&) = default;
  ControlSocket& operator=(ControlSocket&&) = default;
  ~ControlSocket();

  // Readable when poll() has something to do.
  [[nodiscard]] int fd() const { return loop_.fd(); }
  // Accepts, reads and writes what is possible; returns the requests that have become complete.
  [[nodiscard]] std::vector<ControlRequest> poll(MonoTime now);
  // When poll() must be called even if nothing is readable.
  [[nodiscard]] MonoTime next_deadline() const;

  // Answers a request and ends its connection. A client that has gone is no error. `json` gets its newline here.
  void reply(uint64_t client, std::string json, MonoTime now);

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  struct Client {
    UniqueFd fd;
    uid_t uid = 0;
    pid_t pid = 0;
    bool answering = false;  // the request is complete: whatever else comes is not read
    std::string in;
    std::string out;
    size_t sent = 0;
    MonoTime deadline;
  };

  explicit ControlSocket(EventLoop loop) : loop_(std::move(loop)) {}
  void accept_all(MonoTime now);
  bool read_some(uint64_t id, Client& client, std::vector<ControlRequest>& requests);  // false: drop the client
  bool write_some(uint64_t id, Client& client);                                        // false: done or dropped
  void drop(uint64_t id);

  EventLoop loop_;
  UniqueFd listener_;
  std::string path_;
  uint64_t next_id_ = 1;  // 0 is the listener
  std::unordered_map<uint64_t, Client> clients_;
};

// Where an instance listens if --control does not say: /run/penstock/control.sock for root, else
// $XDG_RUNTIME_DIR/penstock.sock, else /tmp/penstock-UID/control.sock.
[[nodiscard]] std::string default_control_path(uid_t uid, std::string_view xdg_runtime_dir);

}  // namespace penstock
