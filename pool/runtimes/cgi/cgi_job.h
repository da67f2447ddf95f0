// CgiJob: one request and the process that answers it, from the request's head to the process's end.
//
// The request's body goes to the process's stdin and its stdout to the client, each no faster than the other side
// takes it; its stderr to ours. How it ends:
//
//   stdout ends ──► answer ends (after up to 100 ms for the exit status: a killed process is no whole answer)
//   answer over, or process gone and stdout still held open by others ──► 1 s ──► SIGTERM ──► 1 s ──► SIGKILL
//   cancelled ──► SIGTERM ──► 1 s, or 50 ms where its time is over ──► SIGKILL
//   process gone ──► what is left of its group is killed
#pragma once

#include "pool/runtimes/cgi/cgi_settings.h"
#include "pool/runtimes/gateway/child_process.h"
#include "pool/runtimes/gateway/error_lines.h"
#include "pool/runtimes/gateway/gateway_answer.h"
#include "pool/runtimes/gateway/runtime_loop.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace penstock {

class CgiJob {
 public:
  // What all jobs share. `ended`: the process is gone, another may start; `over`: and the answer is given: forget it.
  struct Host {
    RuntimeLoop& loop;
    ErrorOutput& errors;
    const CgiSettings& settings;
    std::function<void(CgiJob&)> ended;
    std::function<void(CgiJob&)> over;
  };

  // `body_follows`: body() will be called.
  CgiJob(Host& host, penstock_exchange* exchange, CgiCall call, bool body_follows);
  CgiJob(const CgiJob&) = delete;
  CgiJob& operator=(const CgiJob&) = delete;
  ~CgiJob();

  // Starts the process, or answers why not. May call `over`.
  void start();
  // A short page instead. REQUIRES: not started.
  void refuse(unsigned status, std::string_view why) { answer_.refuse(status, why); }
  [[nodiscard]] bool runs() const { return child_.has_value(); }
  [[nodiscard]] pid_t pid() const { return child_ ? child_->pid() : -1; }

  // From the SDK's callbacks.
  void body(std::string_view bytes, bool last);
  void writable();
  void cancelled(bool overran);  // overran: request_timeout is over

 private:
  enum class Ladder : uint8_t { NONE, STATUS, LINGER, TERMINATE, KILL };
  [[nodiscard]] Status spawn();
  [[nodiscard]] Status watch_all();
  void write_in();
  void close_in();
  void read_out();
  void read_err();
  void child_ended();
  void advance();
  void leave();
  void judge_exit();
  void climb(Ladder to, Duration wait);
  void climb_next();

  Host& host_;
  GatewayAnswer answer_;
  CgiCall call_;
  ErrorLines lines_;
  bool body_follows_;
  std::optional<ChildProcess> child_;
  std::optional<ChildExit> exit_;
  UniqueFd in_;
  UniqueFd out_;
  UniqueFd err_;
  RuntimeLoop::Watch in_watch_ = 0;
  RuntimeLoop::Watch out_watch_ = 0;
  RuntimeLoop::Watch err_watch_ = 0;
  RuntimeLoop::Watch child_watch_ = 0;
  RuntimeLoop::Timer timer_;
  Ladder ladder_ = Ladder::NONE;
  std::string in_kept_;  // of the body: what the pipe did not take
  bool in_last_ = false;
  bool paused_ = false;
  bool out_ended_ = false;
  bool status_overdue_ = false;  // it is not waited for any more
  bool judged_ = false;          // exit_ was
  bool over_ = false;            // and the host was told
};

}  // namespace penstock
