// PoolReports: what the reactors tell the control thread of pools and workers; it passes them to the supervisor.
//
// post() from any thread: a short lock, and one write to an eventfd when it was empty. Cold: nothing here happens once
// per request on a pool that keeps up.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace penstock {

struct PoolReport {
  enum class Kind : uint8_t {
    NEED,     // pool, waiting, oldest_ms
    READY,    // worker: it is warmed up, every reactor can give it requests
    IDLE,     // worker: retired and empty
    BROKE,    // worker, text
    OVERDUE,  // worker, text
    SILENT,   // worker, text
    WARMING,  // worker, text: a request of its warm-up begins
    COLD,     // worker, text: that has failed
    SERVED,   // worker: as many requests as recycle.requests says
    SAID,     // worker, text: a line of the application for the log
  };
  Kind kind = Kind::NEED;
  std::string pool;
  uint64_t worker = 0;
  uint32_t waiting = 0;
  uint32_t oldest_ms = 0;
  std::string text;
  std::vector<uint64_t> serials;  // of the requests inside
};

class PoolReports {
 public:
  // At most so many wait to be taken; more are dropped and counted: a worker that talks must not fill memory.
  static constexpr size_t WAITING_MAX = 10'000;

  [[nodiscard]] static Result<std::unique_ptr<PoolReports>> create();
  void post(PoolReport report);
  // Everything that was posted. `dropped`: how many found no place since the last call.
  [[nodiscard]] std::vector<PoolReport> take(uint64_t& dropped);
  [[nodiscard]] int wake_fd() const { return event_.get(); }

 private:
  explicit PoolReports(UniqueFd event) : event_(std::move(event)) {}
  std::mutex mutex_;
  std::vector<PoolReport> reports_;
  uint64_t dropped_ = 0;
  UniqueFd event_;
};

}  // namespace penstock
