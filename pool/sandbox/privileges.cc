// The steps that take privileges away, for roles and workers alike.
#include "pool/sandbox/steps.h"

#include <algorithm>
#include <cap-ng.h>
#include <dirent.h>
#include <grp.h>
#include <memory>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace penstock {
namespace {

using Steps = std::vector<SandboxStep>;

}  // namespace

// How many threads this process has; 0 if /proc is not there to tell.
int thread_count() {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc/self/task"), &::closedir);
  if (!dir) return 0;
  int count = 0;
  while (const dirent* entry = ::readdir(dir.get())) count += entry->d_name[0] != '.';
  return count;
}

// The bounding set says what an execve could ever regain; only a privileged process can empty it.
Status drop_bounding_set() {
  ::capng_get_caps_process();
  if (::capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 1) return {};
  for (unsigned cap = 0; cap <= CAP_LAST_CAP + 32; ++cap) {
    if (::prctl(PR_CAPBSET_READ, cap) != 1) continue;  // unknown to this kernel, or gone already
    if (::prctl(PR_CAPBSET_DROP, cap) != 0) return fail_errno("sandbox: drop the capability bounding set");
  }
  return {};
}

Status take_identity(const std::optional<SandboxIdentity>& identity, const std::vector<gid_t>& groups, Steps& steps) {
  if (!identity) {
    if (::geteuid() == 0 || ::getuid() == 0) return fail("sandbox: a role may not stay root; no identity was given");
    steps.push_back({"identity", false, "started without root: runs as its caller, uid " + std::to_string(::getuid())});
    return {};
  }
  const auto [uid, gid] = *identity;
  const bool root_group = std::find(groups.begin(), groups.end(), gid_t{0}) != groups.end();
  if (uid == 0 || gid == 0 || root_group) return fail("sandbox: identity 0 is root");
  if (::setgroups(groups.size(), groups.data()) != 0) return fail_errno("sandbox: setgroups");
  if (::setresgid(gid, gid, gid) != 0) return fail_errno("sandbox: setresgid " + std::to_string(gid));
  if (::setresuid(uid, uid, uid) != 0) return fail_errno("sandbox: setresuid " + std::to_string(uid));
  if (::setresuid(0, 0, 0) == 0) return fail("sandbox: root could be regained after setresuid");
  std::string text = "uid " + std::to_string(uid) + ", gid " + std::to_string(gid);
  for (const gid_t group : groups) text += ", group " + std::to_string(group);
  steps.push_back({"identity", true, text + (groups.empty() ? ", no groups" : "")});
  return {};
}

Status drop_capabilities(Steps& steps) {
  ::capng_clear(CAPNG_SELECT_BOTH);
  // The bounding set was dropped before; asking for it again without privilege would fail.
  if (::capng_apply(CAPNG_SELECT_CAPS) != 0) return fail_errno("sandbox: drop capabilities", EPERM);
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL) {
    return fail_errno("sandbox: clear ambient capabilities");
  }
  ::capng_get_caps_process();
  if (::capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE) return fail("sandbox: capabilities remain");
  steps.push_back({"capabilities", true, "none"});
  return {};
}

Status forbid_privileges(Steps& steps) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno("sandbox: no_new_privs");
  steps.push_back({"no new privileges", true, "set"});
  return {};
}

Status hide_memory(Steps& steps) {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail_errno("sandbox: PR_SET_DUMPABLE");
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return fail_errno("sandbox: RLIMIT_CORE");
  steps.push_back({"not dumpable", true, "no core, no ptrace and no /proc/PID/mem by its own user"});
  return {};
}

}  // namespace penstock
