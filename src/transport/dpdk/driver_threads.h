// DriverThreads: the threads that DPDK has made in this process, and the way to run something in each of them, so that
// the sandbox can be entered there as well.
//
// One waits for interrupts and alarms. net_vhost has another, which speaks with the peers over their socket: we become
// one of its peers, on a socket that nobody else can find, and a message of ours is handled there.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <functional>
#include <memory>
#include <string>

namespace penstock {

class DriverThreads {
 public:
  // Of the port that `device` names, after it was opened; while the process may still make a socket beside its.
  [[nodiscard]] static Result<std::unique_ptr<DriverThreads>> find(const std::string& device);

  [[nodiscard]] int count() const { return vhost_.valid() ? 2 : 1; }
  // Runs `job` in each, one after another, and waits for its end. Error: a thread does not answer.
  [[nodiscard]] Status run(const std::function<void()>& job) const;

 private:
  DriverThreads() = default;
  [[nodiscard]] Status meet_vhost(const std::string& path);

  UniqueFd vhost_;  // we as its peer; invalid: there is no such thread
};

}  // namespace penstock
