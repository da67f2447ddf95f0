// ConfigWatch: tells when the config file may have new content. Used by the supervisor's control loop.
//
// One inotify descriptor over the file's directory (so that rename-replace, as editors and packagers do it, is seen)
// and, where the path is a symbolic link, over its target's directory and any swap of the link in between. Poll fd()
// for reading, then ask changed(). A file being written is not reported before it is closed, so that no half of it is
// read. No thread, no clock, no retry loop.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace penstock {

class ConfigWatch {
 public:
  ConfigWatch() = default;

  // Watches `path`. The directory must exist; the file need not yet.
  static Result<ConfigWatch> open(const std::string& path);

  // Non-blocking, close-on-exec; readable when changed() has something to look at.
  [[nodiscard]] int fd() const { return fd_.get(); }

  // Drains what is pending: true if the file should be read again. A burst of events is one true.
  // Error: the directory has gone (the watch then sleeps until rearm() succeeds).
  Result<bool> changed();

  // Sets the watches anew, for instance after the directory came back. True content changes meanwhile are the
  // caller's to look for.
  Status rearm();

 private:
  // Which file stands behind the path: a replacement shows here even where no event names it.
  struct Identity {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const Identity&) const = default;
  };
  [[nodiscard]] Identity identity() const;
  [[nodiscard]] bool is_linked() const;
  bool looks_changed(int wd, uint32_t mask, const char* name) const;

  UniqueFd fd_;
  std::string path_;
  std::string base_;         // last part of path_
  std::string target_base_;  // last part of the resolved path
  int dir_wd_ = -1;
  int target_wd_ = -1;  // -1 where the target lies in the same directory
  Identity seen_;
};

}  // namespace penstock
