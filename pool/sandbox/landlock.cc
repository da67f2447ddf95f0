// Landlock by raw system calls: the C library has no wrappers, and the header of Debian 12 (Linux 6.1) lacks TCP,
// scopes and ioctl, so the constants of later ABIs stand here, from include/uapi/linux/landlock.h.
//
// Every access right that the kernel knows is handled (so denied), and only what a role needs is granted back.
#include "pool/sandbox/steps.h"
#include "src/base/unique_fd.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace penstock {
namespace {

// struct landlock_ruleset_attr as of ABI 6; older kernels are given its shorter prefix.
struct RulesetAttr {
  uint64_t handled_access_fs;
  uint64_t handled_access_net;
  uint64_t scoped;
};
constexpr uint64_t FS_TRUNCATE = 1ULL << 14;         // ABI 3
constexpr uint64_t FS_IOCTL_DEV = 1ULL << 15;        // ABI 5
constexpr uint64_t NET_BIND_TCP = 1ULL << 0;         // ABI 4
constexpr uint64_t NET_CONNECT_TCP = 1ULL << 1;      // ABI 4
constexpr uint64_t SCOPE_ABSTRACT_UNIX = 1ULL << 0;  // ABI 6
constexpr uint64_t SCOPE_SIGNAL = 1ULL << 1;         // ABI 6
constexpr uint32_t LOG_NEW_EXEC_ON = 1U << 1;        // ABI 7

constexpr uint64_t FILE_RIGHTS = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE |
                                 LANDLOCK_ACCESS_FS_EXECUTE;  // all that the kernel takes for a file
constexpr uint64_t READ_RIGHTS = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t WRITE_RIGHTS = READ_RIGHTS | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE |
                                  LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE;
constexpr uint64_t STATE_RIGHTS = WRITE_RIGHTS | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                  LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                                  LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_REFER;
constexpr uint64_t EXECUTE_RIGHTS = READ_RIGHTS | LANDLOCK_ACCESS_FS_EXECUTE;

using Access = LandlockRules::Access;

uint64_t rights_of(Access access) {
  switch (access) {
    case Access::READ:
      return READ_RIGHTS;
    case Access::WRITE:
      return WRITE_RIGHTS;
    case Access::ALL_BUT_EXECUTE:
      return STATE_RIGHTS;
    case Access::EXECUTE:
      return EXECUTE_RIGHTS;
  }
  return 0;
}

uint64_t handled_files(int abi) {
  uint64_t rights = (1ULL << 13) - 1;  // ABI 1: EXECUTE to MAKE_SYM
  if (abi >= 2) rights |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) rights |= FS_TRUNCATE;
  if (abi >= 5) rights |= FS_IOCTL_DEV;
  return rights;
}

std::string abi_text(int abi, int needed) {
  return "kernel has Landlock ABI " + std::to_string(abi) + ", needs " + std::to_string(needed);
}

// Grants access to `path` and all beneath. A path that cannot be opened is named in `missing`: it stays denied.
Status allow_path(int ruleset, const LandlockRules::Path& path, uint64_t handled, std::string& missing) {
  const UniqueFd fd(::open(path.path.c_str(), O_PATH | O_CLOEXEC));
  struct stat st {};
  if (!fd.valid() || ::fstat(fd.get(), &st) != 0) {
    if (path.may_be_missing) return {};
    missing += (missing.empty() ? "" : ", ") + path.path + ": " + std::generic_category().message(errno);
    return {};
  }
  uint64_t rights = rights_of(path.access);
  if (!S_ISDIR(st.st_mode)) rights &= FILE_RIGHTS;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = rights & handled;
  rule.parent_fd = fd.get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
    return fail_errno("landlock: allow " + path.path);
  }
  return {};
}

size_t count(const LandlockRules& rules, Access access) {
  return static_cast<size_t>(std::count_if(rules.paths.begin(), rules.paths.end(),
                                           [access](const auto& path) { return path.access == access; }));
}

void report(const LandlockRules& rules, int abi, const std::string& missing, std::vector<SandboxStep>& steps) {
  const size_t executes = count(rules, Access::EXECUTE);
  std::string files = "reads beneath " + std::to_string(count(rules, Access::READ)) + " paths, writes beneath " +
                      std::to_string(count(rules, Access::WRITE) + count(rules, Access::ALL_BUT_EXECUTE)) +
                      ", executes " + (executes == 0 ? "nothing" : "beneath " + std::to_string(executes)) + " (ABI " +
                      std::to_string(abi) + ")";
  if (!missing.empty()) files += "; denied because it could not be opened: " + missing;
  steps.push_back({"landlock files", true, files});
  if (abi >= 4) {
    steps.push_back({"landlock network", true, rules.tcp_connect ? "no TCP bind" : "no TCP bind or connect"});
  } else {
    steps.push_back({"landlock network", false, abi_text(abi, 4)});
  }
  if (abi >= 6) {
    steps.push_back({"landlock scope", true, "no signal and no abstract socket beyond this process"});
  } else {
    steps.push_back({"landlock scope", false, abi_text(abi, 6)});
  }
}

}  // namespace

int landlock_abi() {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi > 0 ? static_cast<int>(abi) : 0;
}

Status landlock_restrict(const LandlockRules& rules, std::vector<SandboxStep>& steps) {
  const int abi = landlock_abi();
  if (abi == 0) {
    const char* why = "the kernel has no Landlock, or it is not in the lsm= list";
    for (const char* name : {"landlock files", "landlock network", "landlock scope"}) {
      steps.push_back({name, false, why});
    }
    return {};
  }
  RulesetAttr attr{};
  attr.handled_access_fs = handled_files(abi);
  size_t size = sizeof attr.handled_access_fs;
  if (abi >= 4) {
    attr.handled_access_net = NET_BIND_TCP | (rules.tcp_connect ? 0 : NET_CONNECT_TCP);
    size = offsetof(RulesetAttr, scoped);
  }
  if (abi >= 6) {
    attr.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    size = sizeof attr;
  }
  const UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attr, size, 0)));
  if (!ruleset.valid()) return fail_errno("landlock: create ruleset");
  std::string missing;
  for (const LandlockRules::Path& path : rules.paths) {
    if (Status ok = allow_path(ruleset.get(), path, attr.handled_access_fs, missing); !ok) return ok;
  }
  const uint32_t flags = rules.executes && abi >= 7 ? LOG_NEW_EXEC_ON : 0;
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), flags) != 0) return fail_errno("landlock: restrict self");
  report(rules, abi, missing, steps);
  return {};
}

Status landlock_enter(const SandboxProfile& profile, std::vector<SandboxStep>& steps) {
  LandlockRules rules;
  for (const std::string& path : profile.read_only_paths) rules.paths.push_back({path, Access::READ});
  for (const std::string& path : profile.read_write_paths) rules.paths.push_back({path, Access::WRITE});
  return landlock_restrict(rules, steps);
}

bool landlock_covers(const std::vector<std::string>& roots, const std::string& wanted) {
  return std::any_of(roots.begin(), roots.end(), [&](const std::string& root) {
    if (root == wanted || root == "/") return true;
    return wanted.size() > root.size() && wanted.compare(0, root.size(), root) == 0 &&
           (root.back() == '/' || wanted[root.size()] == '/');
  });
}

}  // namespace penstock
