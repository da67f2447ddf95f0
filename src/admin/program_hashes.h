// ProgramHashes: the programs that a pool may start, by what is in them (pool.NAME.programs_sha256).
//
// Over and above the lists by path: a file that was changed, or put in place of another, is not what was listed. Owner:
// the supervisor. A file is read once, and again when its identity, size or times have changed. Who may write to the
// file at the moment of its start can still change it between this look and the kernel's; workers cannot.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace penstock {

class ProgramHashes {
 public:
  // In lower case; none: every program is allowed.
  void set(const std::vector<std::string>& allowed) { allowed_ = allowed; }
  [[nodiscard]] bool allows_all() const { return allowed_.empty(); }

  // Error: it is not one of them, or cannot be read; with its sum, for people.
  [[nodiscard]] Status check(const std::string& path);

 private:
  static constexpr uint64_t BYTES_MAX = 1ULL << 30;  // a program that is larger is refused
  static constexpr size_t KEPT_MAX = 1'024;          // sums; then all are found anew
  struct Stamp {
    uint64_t device = 0, inode = 0, bytes = 0;
    int64_t modified_ns = 0, changed_ns = 0;
    auto operator<=>(const Stamp&) const = default;
  };
  std::vector<std::string> allowed_;
  std::map<Stamp, std::string> sums_;
};

}  // namespace penstock
