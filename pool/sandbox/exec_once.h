// ExecOnce: a command that may be executed under a filter that allows no other.
//
// seccomp sees addresses and never what lies there. So the path, the argument list and the environment list are put at
// three addresses chosen at random (some 40 bits each), and the filter allows execve with exactly these. The program
// that was executed starts with an address space of its own, does not learn them, and a wrong guess ends it.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

class ExecOnce {
 public:
  // Copies everything. REQUIRES: command is not empty.
  [[nodiscard]] static Result<ExecOnce> prepare(const std::vector<std::string>& command,
                                                const std::vector<std::string>& environment);

  // execve(2). Comes back only to say why it failed.
  [[nodiscard]] Error exec() const;

  [[nodiscard]] uint64_t path_address() const { return path_; }
  [[nodiscard]] uint64_t arguments_address() const { return arguments_; }
  [[nodiscard]] uint64_t environment_address() const { return environment_; }

 private:
  std::vector<std::string> command_;
  std::vector<std::string> variables_;
  uint64_t path_ = 0;
  uint64_t arguments_ = 0;
  uint64_t environment_ = 0;
};

}  // namespace penstock
