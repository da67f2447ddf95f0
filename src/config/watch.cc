#include "src/config/watch.h"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

// Closed after writing, renamed here, linked or created here, gone; and the directory itself going.
constexpr uint32_t MASK =
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

struct Split {
  std::string directory;
  std::string base;
};

Split split_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

// The path with every symbolic link resolved; empty where there is nothing.
std::string resolve(const std::string& path) {
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) == nullptr ? std::string() : std::string(resolved);
}

}  // namespace

Result<ConfigWatch> ConfigWatch::open(const std::string& path) {
  ConfigWatch watch;
  watch.path_ = path;
  if (split_path(path).base.empty()) return fail("watch " + path + ": not the path of a file");
  watch.fd_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!watch.fd_.valid()) return fail_errno("inotify_init1");
  if (auto armed = watch.rearm(); !armed) return std::unexpected(std::move(armed.error()));
  return watch;
}

Status ConfigWatch::rearm() {
  const int old_dir = std::exchange(dir_wd_, -1);
  const int old_target = std::exchange(target_wd_, -1);
  const Split own = split_path(path_);
  target_ = resolve(path_);
  const Split there = split_path(target_);
  base_ = own.base;
  target_base_ = there.base;
  // Of a directory that is watched already the kernel returns the same number.
  dir_wd_ = ::inotify_add_watch(fd_.get(), own.directory.c_str(), MASK);
  Status status;
  if (dir_wd_ < 0) status = fail_errno("watch directory " + own.directory);
  if (status && !target_.empty()) {
    target_wd_ = ::inotify_add_watch(fd_.get(), there.directory.c_str(), MASK);
    if (target_wd_ < 0) status = fail_errno("watch directory " + there.directory);
  }
  for (const int old : {old_dir, old_target}) {
    // Fails where the directory has gone and the kernel has removed the watch itself.
    if (old >= 0 && old != dir_wd_ && old != target_wd_) ::inotify_rm_watch(fd_.get(), old);
  }
  return status;
}

Result<bool> ConfigWatch::changed() {
  auto seen = drain();
  if (!seen) return std::unexpected(std::move(seen.error()));
  // A link on the way was swapped: no event names our file, but the path leads to another one.
  const std::string target = resolve(path_);
  const bool swapped = target != target_;
  bool changed = seen->changed || seen->gone || (swapped && is_symlink());
  if (seen->gone || swapped) {
    if (auto armed = rearm(); !armed) return std::unexpected(std::move(armed.error()));
    // What came of dropping the old watches, and perhaps news of the new ones.
    seen = drain();
    if (!seen) return std::unexpected(std::move(seen.error()));
    changed = changed || seen->changed;
  }
  return changed && !target.empty();
}

bool ConfigWatch::hold_still(UniqueFd& hold) const {
  hold.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!hold.valid()) return true;  // whoever reads it says why
  // Who opens it now makes the kernel tell us: by a signal that is ignored, not by SIGIO, which would end us.
  if (::fcntl(hold.get(), F_SETSIG, SIGURG) != 0) return true;
  return ::fcntl(hold.get(), F_SETLEASE, F_RDLCK) == 0 || errno != EAGAIN;
}

Result<ConfigWatch::Drained> ConfigWatch::drain() {
  alignas(inotify_event) char buffer[size_t{16} << 10];
  Drained out;
  while (true) {
    const ssize_t got = ::read(fd_.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return out;
    if (got <= 0) return fail_errno("read inotify");
    for (ssize_t at = 0; at < got;) {
      inotify_event event;
      std::memcpy(&event, buffer + at, sizeof event);
      const char* name = event.len > 0 ? buffer + at + sizeof event : "";
      out.changed = looks_changed(event.wd, event.mask, name) || out.changed;
      out.gone = out.gone || is_gone(event.wd, event.mask);
      at += static_cast<ssize_t>(sizeof event + event.len);
    }
  }
}

bool ConfigWatch::looks_changed(int wd, uint32_t mask, const char* name) const {
  if ((mask & IN_Q_OVERFLOW) != 0) return true;
  const bool ours = (wd == dir_wd_ && base_ == name) || (wd == target_wd_ && target_base_ == name);
  if (!ours) return false;
  if ((mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0) return true;
  // Created: by open(2) it is empty still and its close will tell; by link(2) it is whole.
  struct stat status;
  return (mask & IN_CREATE) != 0 && ::stat(path_.c_str(), &status) == 0 && status.st_nlink > 1;
}

bool ConfigWatch::is_gone(int wd, uint32_t mask) const {
  const bool ours = wd == dir_wd_ || wd == target_wd_;  // IN_IGNORED also ends watches that rearm() has dropped
  return ours && (mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) != 0;
}

bool ConfigWatch::is_symlink() const {
  struct stat status;
  return ::lstat(path_.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
}

}  // namespace penstock
