// A running supervisor for a test: the real one in a child process, its roles played by tests/process/fake_role.
#pragma once

#include "src/admin/json.h"
#include "src/roles/supervisor.h"

#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock::test {

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline Json set_request(const std::vector<std::string>& assignments) {
  return {{"cmd", "sysctl.set"}, {"assignments", assignments}};
}

class Instance {
 public:
  Instance();   // makes a directory of its own
  ~Instance();  // kills what is left, removes the directory

  std::vector<std::string> set;  // KEY=VALUE, before start()
  std::string config_text;       // if not empty: run -c FILE with this content
  SupervisorEnvironment environment;
  std::function<void(SupervisorEnvironment&)> in_child;  // runs in the supervisor's process before it starts

  void start();     // and waits until the server is ready (or the supervisor has ended)
  void spawn();     // without waiting
  int stop();       // SIGTERM; the exit code
  int wait_exit();  // the exit code, -signal if killed

  [[nodiscard]] std::string path(const std::string& name) const { return dir_ + "/" + name; }
  [[nodiscard]] Json call(const Json& request);  // the control socket; null if it cannot be reached
  [[nodiscard]] Json status() { return call({{"cmd", "status"}}); }
  [[nodiscard]] pid_t role_pid(const std::string& role);  // of the ready one, else 0
  [[nodiscard]] size_t open_requests();                   // in flight, by the journal
  [[nodiscard]] std::string log() const;                  // what the supervisor told its operator
  [[nodiscard]] std::string out() const;
  [[nodiscard]] uint16_t port();  // of the first TCP listener
  [[nodiscard]] pid_t pid() const { return pid_; }

  // True as soon as `condition` holds; false after ten seconds.
  static bool eventually(const std::function<bool()>& condition);

 private:
  std::string dir_;
  pid_t pid_ = -1;
};

// A connection with a request on it, answered or not.
class Client {
 public:
  explicit Client(uint16_t port);
  explicit Client(const std::string& unix_path);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  [[nodiscard]] bool connected() const { return fd_ >= 0; }
  void ask(const std::string& path);
  [[nodiscard]] std::string body(int timeout_ms = 10'000);  // "" if the connection broke or nothing came

 private:
  int fd_ = -1;
};

[[nodiscard]] std::string get(uint16_t port, const std::string& path);

}  // namespace penstock::test
