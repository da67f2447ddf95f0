// One readable order. Why it is this one:
// - memory is locked first, which takes privilege;
// - the bounding set can only be dropped while still privileged, so capabilities go in two halves around the identity;
// - no_new_privs comes before Landlock and seccomp, which need it where there is no privilege;
// - a change of identity clears the parent-death signal, so that comes after;
// - seccomp is last, because it forbids everything the steps before it do.
#include "pool/sandbox/sandbox.h"

#include "pool/sandbox/steps.h"

#include <algorithm>
#include <csignal>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
namespace {

using Steps = std::vector<SandboxStep>;

// Closes everything above stderr that is not named.
Status close_others(const SandboxProfile& profile, Steps& steps) {
  if (!profile.keep_fds) return {};
  std::vector<int> keep = *profile.keep_fds;
  std::sort(keep.begin(), keep.end());
  unsigned from = 3;
  for (const int fd : keep) {
    const auto next = static_cast<unsigned>(fd);
    if (fd < 3) continue;
    if (next > from && ::syscall(SYS_close_range, from, next - 1, 0) != 0) return fail_errno("sandbox: close_range");
    from = next + 1;
  }
  if (::syscall(SYS_close_range, from, ~0U, 0) != 0) return fail_errno("sandbox: close_range");
  steps.push_back({"descriptors", true, std::to_string(keep.size()) + " kept, all others closed"});
  return {};
}

// While still privileged: afterwards nobody may lock as much. Pages are locked when they are first touched.
Status lock_memory(const SandboxProfile& profile, Steps& steps) {
  if (!profile.lock_memory) return {};
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  rlimit now{};
  const bool may = ::setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0 ||
                   (::getrlimit(RLIMIT_MEMLOCK, &now) == 0 && now.rlim_cur == RLIM_INFINITY);
  if (!may) {
    steps.push_back({"memory lock", false,
                     "RLIMIT_MEMLOCK is " + std::to_string(now.rlim_cur) +
                         " bytes and may not be raised: memory may be swapped out"});
    return {};
  }
  if (::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) return fail_errno("sandbox: mlockall");
  steps.push_back({"memory lock", true, "none of its memory is swapped out"});
  return {};
}

Status follow_parent(const SandboxProfile& profile) {
  if (profile.parent_death_signal == 0) return {};
  if (::prctl(PR_SET_PDEATHSIG, profile.parent_death_signal, 0, 0, 0) != 0) return fail_errno("sandbox: PDEATHSIG");
  return {};
}

Status limit_threads(const SandboxProfile& profile, Steps& steps) {
  if (profile.threads_max == 0) return {};
  const rlimit limit{profile.threads_max, profile.threads_max};
  if (::setrlimit(RLIMIT_NPROC, &limit) != 0) return fail_errno("sandbox: RLIMIT_NPROC");
  steps.push_back({"limits", true, "at most " + std::to_string(profile.threads_max) + " threads"});
  return {};
}

// name_violations: the filter raises SIGSYS instead of killing; say which call it was, then die of it.
void name_violation(int, siginfo_t* info, void*) {
  char text[] = "penstock: the sandbox forbids system call number      \n";
  char* digits = text + sizeof text - 6;
  int number = info->si_syscall;
  do {
    *digits-- = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number > 0);
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, sizeof text - 1);
  ::_exit(128 + SIGSYS);
}

Status watch_violations(const SandboxProfile& profile) {
  if (!profile.name_violations) return {};
  struct sigaction action {};
  action.sa_sigaction = &name_violation;
  action.sa_flags = SA_SIGINFO;
  if (::sigaction(SIGSYS, &action, nullptr) != 0) return fail_errno("sandbox: sigaction");
  return {};
}

}  // namespace

bool SandboxReport::complete() const {
  return std::all_of(steps.begin(), steps.end(), [](const SandboxStep& step) { return step.holds; });
}

std::string SandboxReport::weaker() const {
  std::string text;
  for (const SandboxStep& step : steps) {
    if (!step.holds) text += (text.empty() ? "" : "; ") + step.name + ": " + step.detail;
  }
  return text;
}

namespace {

// Identities and the filter are the C library's and the kernel's to bring to every thread; these steps are each
// thread's own.
Status confine_others(const SandboxProfile& profile, const std::function<Status()>& steps) {
  if (profile.other_threads == 0) return {};
  Status result;
  const Status ran = profile.in_other_threads([&] { result = steps(); });
  return ran ? result : ran;
}

}  // namespace

Result<SandboxReport> enter_sandbox(const SandboxProfile& profile) {
  if (thread_count() > 1 + profile.other_threads) return fail("sandbox: entered with more than one thread");
  SandboxReport report;
  Status ok = close_others(profile, report.steps);
  if (ok) ok = lock_memory(profile, report.steps);
  if (ok) ok = confine_others(profile, drop_bounding_set);
  if (ok) ok = drop_bounding_set();
  if (ok) ok = take_identity(profile.identity, {}, report.steps);
  if (ok) {
    ok = confine_others(profile, [&profile] {
      Steps same;  // as those of the first thread
      Status own = drop_capabilities(same);
      if (own) own = forbid_privileges(same);
      return own ? landlock_enter(profile, same) : own;
    });
  }
  if (ok && profile.other_threads > 0) {
    report.steps.push_back(
        {"threads", true, std::to_string(profile.other_threads) + " of a driver's, confined as well"});
  }
  if (ok) ok = drop_capabilities(report.steps);
  if (ok) ok = forbid_privileges(report.steps);
  if (ok) ok = hide_memory(report.steps);
  if (ok) ok = follow_parent(profile);
  if (ok) ok = limit_threads(profile, report.steps);
  if (ok) ok = watch_violations(profile);
  if (ok) ok = landlock_enter(profile, report.steps);
  if (ok) ok = seccomp_enter(profile, report.steps);
  if (!ok) return std::unexpected(ok.error());
  return report;
}

}  // namespace penstock
