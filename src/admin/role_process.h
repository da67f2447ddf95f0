// RoleProcess: one process of penstock as its supervisor sees it: started, spoken to, watched, reaped.
//
// Mechanism only; when to start, drain or kill is the supervisor's (src/roles). The process is this same executable,
// run anew (so that it inherits no memory), with a clean environment, stdin from /dev/null, its channel as descriptor
// 3 and nothing else open, in a process group of its own so that Ctrl-C reaches the supervisor alone.
// It is watched by pidfd: no process id is ever signalled after it could have been reused.
#pragma once

#include "src/admin/channel.h"
#include "src/admin/role_messages.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace penstock {

inline constexpr int ROLE_CHANNEL_FD = 3;

// How a process ended.
struct RoleExit {
  bool clean = false;  // exit code 0
  bool core = false;
  int code = 0;                            // exit code, if signal is 0
  int signal = 0;                          // that killed it, or 0
  [[nodiscard]] std::string text() const;  // "exited with code 1", "was killed by SIGSEGV"
};

class RoleProcess {
 public:
  enum class State : uint8_t {
    STARTING,  // HELLO sent, READY not seen
    READY,
    DRAINING,  // DRAIN sent: its end is expected
  };

  // Starts `executable` (usually /proc/self/exe) as `role`. `serial` names it in the supervisor's loop.
  [[nodiscard]] static Result<RoleProcess> spawn(const std::string& executable, std::string role, uint32_t serial,
                                                 MonoTime now);

  RoleProcess(RoleProcess&&) = default;
  RoleProcess& operator=(RoleProcess&&) = default;
  ~RoleProcess() = default;  // neither kills nor waits: see kill_and_wait()

  // Sends a signal; a process that has ended already is no error.
  void signal(int number);
  // The exit status if the process has ended; reaps it. Never blocks.
  [[nodiscard]] std::optional<RoleExit> reap();
  // SIGKILL, and waits for the end.
  RoleExit kill_and_wait();

  [[nodiscard]] int pidfd() const { return pidfd_.get(); }  // readable once the process has ended
  [[nodiscard]] pid_t pid() const { return pid_; }

  // What the supervisor knows of it; plain data.
  std::string role;
  uint32_t serial = 0;
  Channel channel;
  State state = State::STARTING;
  uint32_t journal_set = 0;
  uint64_t generation = 0;  // of the config it runs with
  std::string identity;
  std::vector<std::string> paths;      // what its Landlock domain reaches
  bool port_heard_by_two = false;      // server: what it was told last of dpdk's port
  std::vector<UniqueFd> key_channels;  // server: keyd's ends of them, for a keyd that comes later
  ReadyReport ready;
  MonoTime started;
  MonoTime ready_at;
  MonoTime deadline = MonoTime::never();  // of its start or drain
  std::string kill_reason;                // why the supervisor killed it, if it did

  // Is it alive? One PING is under way at a time; only a role that has ever answered one is judged by them.
  struct Ping {
    uint32_t id = 0;
    bool waiting = false;
    bool answered_ever = false;
    MonoTime sent;
    MonoTime next;
  } ping;

 private:
  RoleProcess() = default;
  [[nodiscard]] std::optional<RoleExit> wait_for_end(int options);

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  std::optional<RoleExit> exit_;
};

// "starting", "ready", "draining".
[[nodiscard]] std::string_view role_state_name(RoleProcess::State state);

// The environment that a role gets out of `environ`: the time zone, and what sanitizers and coverage read.
[[nodiscard]] std::vector<std::string> role_environment(const char* const* environment);

}  // namespace penstock
