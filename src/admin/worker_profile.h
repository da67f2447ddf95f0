// What a worker of a pool is started with, out of the configuration: identity, sandbox, environment, command line.
//
// Used by the supervisor for each process that it starts, and by `penstock secure audit`. worker_profile() is pure;
// only worker_identity() reads the user database, where the configuration names users or groups.
//
// A worker may do what its runtime needs and what its identity allows, no more:
//   runtime              system calls  network   may execute
//   native, wsgi         compute       none      the runtime
//   external             compute       none      pool.NAME.app
//   cgi                  process       none      the runtime, the program or the directory of scripts, the interpreters
//   fastcgi, scgi, uwsgi and http:
//   where they connect   network       unix, or client for HOST:PORT     the runtime
//   where they start     full          unix      the runtime, the program of the command
// It reads the application, pool.NAME.directory and the system's libraries; it writes pool.NAME.state.
#pragma once

#include "pool/sandbox/worker_sandbox.h"
#include "src/base/result.h"
#include "src/config/settings.h"

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace penstock {

// Numbers for pools and identities without a user of the system. They lie in a range that systemd's table of uids
// leaves unused (uids-gids(7): 1879048192 to 2147352575), away from users, containers and penstock's own roles.
inline constexpr uid_t POOL_IDS_FIRST = 1'879'048'192;
inline constexpr uid_t POOL_IDS_COUNT = 1 << 27;

// The number of a name is its FNV-1a hash within the range, so it is the same on every machine and after every
// restart. Where two names meet (with 2,000 pools once in seventy configurations), the later in the order of names
// takes the next free number.
class PoolIds {
 public:
  explicit PoolIds(const Settings& settings);
  // Of a pool without a named identity, or of a named identity with user = auto, which pools may share.
  [[nodiscard]] uid_t of_pool(std::string_view pool) const;
  [[nodiscard]] uid_t of_identity(std::string_view identity) const;

  // The rule itself, for names in ascending order; the numbers are in the same order.
  [[nodiscard]] static std::vector<uid_t> assign(const std::vector<std::string>& names, uid_t first, uid_t count);

 private:
  [[nodiscard]] uid_t of(std::string_view name) const;
  std::unordered_map<std::string, uid_t> ids_;
};

struct WorkerIdentity {
  std::optional<SandboxIdentity> ids;  // nothing: without root, the caller's
  std::vector<gid_t> groups;
  std::string name;  // for status: "www-data (uid 33)", "uid 1912345678 (of pool shop)", "uid 1000 (the caller's)"
};

struct WorkerProfile {
  std::vector<std::string> command;
  std::vector<std::string> environment;
  std::string directory;  // working directory
  WorkerSandbox sandbox;  // but for the cgroup, which is the supervisor's
  std::string state;      // directory to be made for it, mode 0700; empty: none
  std::string identity;   // its name
};

// Error: a user or group that does not exist, or is root.
[[nodiscard]] Result<WorkerIdentity> worker_identity(const Settings& settings, const PoolSettings& pool,
                                                     const PoolIds& ids, bool as_root);

// The runtime program of the pool ("penstock-cgi"); empty for external, which has none.
[[nodiscard]] std::string_view runtime_program(RuntimeSetting runtime);

// `runtime`: the path of runtime_program() (program_path.h). Error: an application that its runtime cannot take.
[[nodiscard]] Result<WorkerProfile> worker_profile(const Settings& settings, const PoolSettings& pool,
                                                   const WorkerIdentity& identity, const std::string& runtime);

// All of it at once. `executable`: of penstock, beside which the runtimes lie.
[[nodiscard]] Result<WorkerProfile> find_worker_profile(const Settings& settings, const PoolSettings& pool,
                                                        const PoolIds& ids, bool as_root,
                                                        const std::string& executable);

// The words of a command: separated by blanks; '…' and "…" keep blanks. Error: a quote that is not closed, no word.
[[nodiscard]] Result<std::vector<std::string>> split_command(std::string_view text);

}  // namespace penstock
