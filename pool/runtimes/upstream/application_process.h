// ApplicationProcess: the FastCGI application that penstock-upstream starts itself (--start), and starts again when it
// ends.
//
// It gets the listening socket as descriptor 0 (FastCGI 1.0 section 2.2), made here: a unix socket without a name that
// anybody else could use: its file is removed at once, and connections go to it by /proc/self/fd. Connections made
// while it is down wait in the socket's queue. What it writes to stdout and stderr goes to this process's stderr by
// lines.
#pragma once

#include "pool/runtimes/gateway/child_process.h"
#include "pool/runtimes/gateway/error_lines.h"
#include "pool/runtimes/gateway/runtime_loop.h"
#include "pool/runtimes/upstream/upstream_settings.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

class ApplicationProcess {
 public:
  // Makes the socket and starts it the first time. Error: either is refused.
  [[nodiscard]] static Result<std::unique_ptr<ApplicationProcess>> start(const UpstreamSettings& settings,
                                                                         RuntimeLoop& loop, ErrorOutput& errors);
  ApplicationProcess(const ApplicationProcess&) = delete;
  ApplicationProcess& operator=(const ApplicationProcess&) = delete;
  ~ApplicationProcess();  // SIGTERM, a second to end, SIGKILL

  [[nodiscard]] const UpstreamAddress& address() const { return address_; }

 private:
  ApplicationProcess(const UpstreamSettings& settings, RuntimeLoop& loop, ErrorOutput& errors);
  [[nodiscard]] Status listen();
  [[nodiscard]] Status spawn();
  void read_output();
  void ended();
  void start_again(Duration wait);

  const UpstreamSettings& settings_;
  RuntimeLoop& loop_;
  ErrorOutput& errors_;
  ErrorLines lines_;
  UniqueFd listener_;
  UniqueFd node_;          // the socket's file, which has no name any more
  std::string directory_;  // where it has to keep its name; removed at the end
  UpstreamAddress address_;
  std::optional<ChildProcess> child_;
  UniqueFd output_;
  RuntimeLoop::Watch child_watch_ = 0;
  RuntimeLoop::Watch output_watch_ = 0;
  RuntimeLoop::Timer timer_;
  MonoTime started_;
  Duration backoff_;
};

}  // namespace penstock
