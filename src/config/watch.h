// ConfigWatch: tells when the config file may have new content. Used by the supervisor's control loop.
//
// One inotify descriptor over the file's directory (so that rename-replace, as editors and packagers do it, is seen)
// and, where the path is a symbolic link, over its target's directory and any swap of the link in between. Poll fd()
// for reading, then ask changed(). Links among the path's directories are not followed by the watch. A file being
// written is not reported before it is closed, and can be held still, so that no half of it is read. No thread, no
// clock, no retry loop.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <string>

namespace penstock {

class ConfigWatch {
 public:
  ConfigWatch() = default;

  // Watches `path`. The directory must exist; the file need not yet.
  static Result<ConfigWatch> open(const std::string& path);

  // Non-blocking, close-on-exec; readable when changed() has something to look at.
  [[nodiscard]] int fd() const { return fd_.get(); }

  // Drains what is pending: true if the file is there and should be read again. A burst of events is one true.
  // A deleted file is no change: what runs goes on. Error: the directory has gone (the watch then sleeps until
  // rearm() succeeds).
  Result<bool> changed();

  // Call it when changed() says so, and read the file as long as `hold` lives: a change may be seen when the next one
  // has begun, and the half of a configuration is often a valid one. False: somebody has the file open for writing; ask
  // again a little later, for the event of his close may come before the kernel has closed it. True: nobody has, and
  // who opens it waits until `hold` is closed; only where the file system or our privileges allow no lease (fcntl(2))
  // is it held by nothing.
  [[nodiscard]] bool hold_still(UniqueFd& hold) const;

  // Sets the watches anew, on the same fd(), for instance after the directory came back; then the caller reads the
  // file himself, since no event tells of the time between.
  Status rearm();

 private:
  struct Drained {
    bool changed = false;  // our file was closed after writing, renamed or linked into place
    bool gone = false;     // a watched directory is no longer where it was
  };
  Result<Drained> drain();
  bool looks_changed(int wd, uint32_t mask, const char* name) const;
  [[nodiscard]] bool is_gone(int wd, uint32_t mask) const;
  [[nodiscard]] bool is_symlink() const;

  UniqueFd fd_;
  std::string path_;
  std::string base_;         // last part of path_
  std::string target_;       // path_ with every symbolic link resolved; empty while there is no file
  std::string target_base_;  // last part of target_
  int dir_wd_ = -1;          // of path_'s directory; -1 while it is gone
  int target_wd_ = -1;       // of target_'s directory; often the same number
};

}  // namespace penstock
