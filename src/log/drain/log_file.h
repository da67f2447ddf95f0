// LogFile: the open access log: appended to, cut, never read.
//
// Owned by the Drain. Regular files are locked against a second writer, because what is in the file is found by
// its size (WriteIntent). Other kinds (a pipe, a terminal, /dev/stdout) are written to as they are: not locked, not
// rotated, not cut. Never blocks: a full pipe is an error to be tried again.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

class LogFile {
 public:
  // Opens or creates (mode 0640) `path` for appending.
  [[nodiscard]] static Result<LogFile> open(const std::string& path);

  [[nodiscard]] bool regular() const { return regular_; }
  [[nodiscard]] uint64_t device() const { return device_; }
  [[nodiscard]] uint64_t inode() const { return inode_; }
  [[nodiscard]] WallTime modified() const { return modified_; }  // when it was opened

  // The size now; asked anew each time, because others may cut the file. 0 where not regular.
  [[nodiscard]] uint64_t size() const;
  // Whether `path` still leads to this file.
  [[nodiscard]] bool is_at(const std::string& path) const;

  // Appends some of `bytes`; how many, or why none.
  [[nodiscard]] Result<size_t> append(std::string_view bytes);
  // Cuts to `size`. REQUIRES: regular().
  [[nodiscard]] Status truncate(uint64_t size);

 private:
  UniqueFd fd_;
  std::string path_;  // for messages
  bool regular_ = false;
  uint64_t device_ = 0;
  uint64_t inode_ = 0;
  WallTime modified_;
};

}  // namespace penstock
