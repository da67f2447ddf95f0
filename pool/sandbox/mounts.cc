// What a worker with a mount namespace of its own sees elsewhere than others do. Nothing here outlives the worker.
#include "pool/sandbox/worker_steps.h"

#include <algorithm>
#include <cerrno>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <system_error>
#include <unistd.h>

namespace penstock {
namespace {

constexpr unsigned long HARMLESS = MS_NOSUID | MS_NODEV | MS_NOEXEC;

// With its pid namespace /proc shows this worker and what it starts; otherwise it would show everybody, so it is empty.
Status mount_proc(std::vector<SandboxStep>& steps) {
  if (::getppid() == 0) {
    for (const char* options : {"hidepid=invisible,subset=pid", "hidepid=2"}) {  // the first since Linux 5.8
      if (::mount("proc", "/proc", "proc", HARMLESS, options) != 0) continue;
      steps.push_back({"/proc", true, "its own, " + std::string(options)});
      return {};
    }
  }
  if (::mount("none", "/proc", "tmpfs", HARMLESS | MS_RDONLY, "size=4k,nr_inodes=1,mode=555") != 0) {
    steps.push_back({"/proc", false, "cannot be hidden: " + std::generic_category().message(errno)});
    return {};
  }
  steps.push_back({"/proc", true, "empty"});
  return {};
}

Status mount_tmp(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps) {
  if (!sandbox.private_tmp) return {};
  if (::mount("none", "/tmp", "tmpfs", HARMLESS, "size=256m,nr_inodes=64k,mode=1777") != 0) {
    return fail_errno("sandbox: mount a private /tmp");
  }
  steps.push_back({"/tmp", true, "its own, 256 MiB in memory"});
  return {};
}

unsigned long kept_flags(const std::string& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return 0;
  unsigned long flags = 0;  // a user namespace may not clear what stands outside
  if ((info.f_flag & ST_RDONLY) != 0) flags |= MS_RDONLY;
  if ((info.f_flag & ST_NOATIME) != 0) flags |= MS_NOATIME;
  if ((info.f_flag & ST_NODIRATIME) != 0) flags |= MS_NODIRATIME;
  if ((info.f_flag & ST_RELATIME) != 0) flags |= MS_RELATIME;
  return flags;
}

// Landlock denies execve; only the mount denies to map a file as code, as a loader does that is told to run it.
Status forbid_execution(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps) {
  size_t done = 0;
  std::string left_out;
  for (const std::string& path : sandbox.write_paths) {
    const bool executes = std::any_of(
        sandbox.execute_paths.begin(), sandbox.execute_paths.end(),
        [&](const std::string& other) { return landlock_covers({path}, other) || landlock_covers({other}, path); });
    if (executes || ::access(path.c_str(), F_OK) != 0) {
      left_out += (left_out.empty() ? "" : ", ") + path;
      continue;
    }
    const unsigned long flags = MS_REMOUNT | MS_BIND | HARMLESS | kept_flags(path);
    if (::mount(path.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0 ||
        ::mount(nullptr, path.c_str(), nullptr, flags, nullptr) != 0) {
      return fail_errno("sandbox: forbid execution from " + path);
    }
    ++done;
  }
  if (sandbox.write_paths.empty()) return {};
  steps.push_back(
      {"no execution", left_out.empty(),
       "of files beneath " + std::to_string(done) + " writable paths" +
           (left_out.empty() ? "" : "; not for " + left_out + ", which are missing or to be executed from")});
  return {};
}

}  // namespace

Status arrange_mounts(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return fail_errno("sandbox: private mounts");
  Status ok;
  if (sandbox.has_root()) ok = enter_own_root(sandbox, steps);
  if (ok) ok = mount_tmp(sandbox, steps);
  if (ok) ok = forbid_execution(sandbox, steps);
  if (ok) ok = mount_proc(steps);
  return ok;
}

}  // namespace penstock
