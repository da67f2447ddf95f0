// A shared object for penstock-native in C++: computes in a thread of its own, and answers when that is done. The
// thread never touches the exchange, which may be cancelled meanwhile: it works on a copy and posts the result.
#include "pool/sdk/penstock_worker.hpp"

#include <list>
#include <optional>
#include <string>
#include <thread>

namespace {

using penstock::sdk::Exchange;

class Later : public penstock::sdk::Application {
 public:
  ~Later() override {
    for (Job& job : jobs_) job.thread.join();
  }

  void request(Exchange exchange) override {
    const auto job = jobs_.emplace(jobs_.end());
    job->exchange = exchange;
    job->thread = std::thread([this, job, worker = exchange.worker(), path = std::string(exchange.path())] {
      const std::string turned(path.rbegin(), path.rend());
      worker.post([this, job, turned] { done(job, turned); });
    });
  }

  void cancelled(Exchange exchange, penstock_why_cancelled) override {
    for (Job& job : jobs_) {
      if (job.exchange && job.exchange->raw() == exchange.raw()) job.exchange.reset();
    }
  }

 private:
  struct Job {
    std::optional<Exchange> exchange;  // as long as somebody wants the answer
    std::thread thread;
  };
  void done(std::list<Job>::iterator job, const std::string& turned) {
    if (job->exchange) job->exchange->answer(200, {{"Content-Type", "text/plain"}}, turned + "\n");
    job->thread.join();
    jobs_.erase(job);
  }
  std::list<Job> jobs_;
};

}  // namespace

PENSTOCK_APPLICATION(Later)
