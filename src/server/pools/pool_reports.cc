#include "src/server/pools/pool_reports.h"

#include "src/base/doorbell.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace penstock {

Result<std::unique_ptr<PoolReports>> PoolReports::create() {
  UniqueFd event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event.valid()) return fail_errno("eventfd for reports of pools");
  return std::unique_ptr<PoolReports>(new PoolReports(std::move(event)));  // private constructor: make_unique cannot
}

void PoolReports::post(PoolReport report) {
  bool was_empty = false;
  {
    const std::lock_guard lock(mutex_);
    // What the supervisor acts on is never dropped: there is one of each for a worker at most.
    if (report.kind == PoolReport::Kind::SAID && reports_.size() >= WAITING_MAX) {
      ++dropped_;
      return;
    }
    was_empty = reports_.empty();
    reports_.push_back(std::move(report));
  }
  if (!was_empty) return;
  (void)ring_bell(event_.get());
}

std::vector<PoolReport> PoolReports::take(uint64_t& dropped) {
  uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(event_.get(), &count, sizeof count);
  const std::lock_guard lock(mutex_);
  dropped = std::exchange(dropped_, 0);
  return std::exchange(reports_, {});
}

}  // namespace penstock
