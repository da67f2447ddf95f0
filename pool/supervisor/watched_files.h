// WatchedFiles: whether the files of an application have changed, for recycle.on_change and recycle.files.
//
// Looked at by the supervisor about once a second, without inotify: an application may lie on any file system. A state
// is believed when it was the same in two looks, so that what is just being written is not run. File system calls on
// the caller's thread; their number is bounded by FILES_MAX.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

class WatchedFiles {
 public:
  static constexpr size_t FILES_MAX = 10'000;  // of one pool
  static constexpr size_t DEPTH_MAX = 32;      // of directories within one that is named

  // Paths or patterns (glob(7)), the relative ones below `directory`; without one they name nothing. Of a directory
  // all that is in it counts, links in it as links. Another list than before is a state to begin from.
  void watch(std::vector<std::string> patterns, const std::string& directory);
  [[nodiscard]] bool empty() const { return patterns_.empty(); }

  // Looks. The first file (in the order of looking) that changed, came or went since the state that workers run with,
  // once the new state has been the same in two looks.
  [[nodiscard]] std::optional<std::string> look();
  // At the last look there were more than FILES_MAX: the others are not looked at.
  [[nodiscard]] bool too_many() const { return too_many_; }

 private:
  struct File {
    std::string path;
    int64_t mtime_ns = 0;
    uint64_t bytes = 0, inode = 0;
    bool operator==(const File&) const = default;
  };
  using State = std::vector<File>;
  [[nodiscard]] State read();
  void add(const std::string& path, bool follow, size_t depth, State& to);

  std::vector<std::string> patterns_;
  std::optional<State> used_, seen_;
  bool too_many_ = false;
};

}  // namespace penstock
