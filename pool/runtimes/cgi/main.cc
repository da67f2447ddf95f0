// penstock-cgi: CGI/1.1 programs (RFC 3875) as the applications of a pool. pool/runtimes/README.md says what it does.
#include "pool/runtimes/cgi/cgi_job.h"
#include "pool/sdk/penstock_worker.h"
#include "src/base/assert.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <deque>
#include <memory>
#include <sys/wait.h>
#include <unordered_map>

namespace penstock {
namespace {

constexpr const char* USAGE =
    "usage: penstock-cgi (--root DIR [--interpreter EXT=PROGRAM]... [--executables] | --program PATH [--root DIR])\n"
    "                    [--concurrency N] [--env NAME]... [--pass-authorization]\n";

// All jobs: at most `concurrency` of them have a process, the others wait in the order in which they came.
class CgiGateway {
 public:
  CgiGateway(const CgiSettings& settings, RuntimeLoop& loop)
      : settings_(settings),
        host_{.loop = loop,
              .errors = errors_,
              .settings = settings,
              .ended =
                  [this](CgiJob&) {
                    --running_;
                    reap_orphans();
                    start_waiting();
                  },
              .over = [this](CgiJob& job) { bury(job); }} {}

  void request(penstock_exchange* exchange) {
    CgiCall call = choose_program(settings_, request_of(exchange));
    const unsigned refusal = call.refusal;
    const std::string why = call.why;
    auto made = std::make_unique<CgiJob>(host_, exchange, std::move(call), penstock_body_length(exchange) != 0);
    if (refusal != 0) return made->refuse(refusal, why);
    CgiJob* const job = made.get();
    jobs_.emplace(job, std::move(made));
    penstock_set_data(exchange, job);
    penstock_pause(exchange);
    waiting_.emplace_back(job, exchange);
    start_waiting();
  }
  void cancelled(CgiJob& job, bool overran) {
    std::erase_if(waiting_, [&](const auto& entry) { return entry.first == &job; });
    job.cancelled(overran);
  }

 private:
  void start_waiting() {
    while (running_ < settings_.concurrency && !waiting_.empty()) {
      const auto [job, exchange] = waiting_.front();
      waiting_.pop_front();
      penstock_resume(exchange);
      ++running_;
      job->start();
      if (!job->runs()) --running_;
    }
  }
  // It is on the stack.
  void bury(CgiJob& job) {
    const auto found = jobs_.find(&job);
    ASSERT(found != jobs_.end());
    buried_.push_back(std::move(found->second));
    jobs_.erase(found);
    if (buried_.size() == 1) host_.loop.at_end_of_turn(this, [this] { buried_.clear(); });
  }
  // Where this process is the first of its PID namespace, what programs left behind becomes its own.
  void reap_orphans() const {
    if (::getpid() != 1) return;
    for (;;) {
      siginfo_t info{};
      if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
      const auto is_it = [&](const auto& job) { return job.second->pid() == info.si_pid; };
      if (std::ranges::any_of(jobs_, is_it)) return;  // waited for by its job; the others come after it
      (void)::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
    }
  }

  const CgiSettings& settings_;
  ErrorOutput errors_{2};
  CgiJob::Host host_;
  std::unordered_map<CgiJob*, std::unique_ptr<CgiJob>> jobs_;
  std::vector<std::unique_ptr<CgiJob>> buried_;
  std::deque<std::pair<CgiJob*, penstock_exchange*>> waiting_;
  uint32_t running_ = 0;
};

CgiJob& job_of(penstock_exchange* exchange) { return *static_cast<CgiJob*>(penstock_data(exchange)); }

penstock_callbacks callbacks() {
  penstock_callbacks all{};
  all.request = [](penstock_exchange* exchange, void* context) {
    static_cast<CgiGateway*>(context)->request(exchange);
  };
  all.body = [](penstock_exchange* exchange, const char* bytes, size_t size, int last, void*) {
    job_of(exchange).body({bytes, size}, last != 0);
  };
  all.writable = [](penstock_exchange* exchange, void*) { job_of(exchange).writable(); };
  all.cancelled = [](penstock_exchange* exchange, penstock_why_cancelled why, void* context) {
    static_cast<CgiGateway*>(context)->cancelled(job_of(exchange), why == PENSTOCK_WHY_TIMEOUT);
  };
  return all;
}

int run(const CgiSettings& settings) {
  ::signal(SIGPIPE, SIG_IGN);
  const auto loop = RuntimeLoop::make(true);
  if (!loop) {
    std::fprintf(stderr, "penstock-cgi: %s\n", loop.error().message.c_str());
    return 1;
  }
  CgiGateway gateway(settings, **loop);
  const penstock_callbacks all = callbacks();
  penstock_worker* worker = nullptr;
  if (penstock_worker_open(&all, &gateway, &worker) != 0) return 1;
  const bool drained = (*loop)->run(worker);
  penstock_worker_close(worker);
  return drained ? 0 : 128 + SIGTERM;  // what still runs is killed with its job
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  const auto settings = penstock::read_cgi_settings(std::span<char* const>(argv + 1, static_cast<size_t>(argc - 1)));
  if (!settings) {
    std::fprintf(stderr, "penstock-cgi: %s\n%s", settings.error().message.c_str(), penstock::USAGE);
    return 2;
  }
  return penstock::run(*settings);
}
