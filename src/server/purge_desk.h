// PurgeDesk: who waits to hear how many entries fell to a purge that he ordered by HTTP.
//
// One per server process. A reactor that took PURGE from a client adds its exchange, which parks; the control thread
// has the cache swept and tells the reactor by its inbox (PURGED). Of an exchange that has ended meanwhile the
// reactor finds nothing, and drops the message.
#pragma once

#include "cache/table.h"
#include "src/base/handle.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"
#include "src/server/inbox.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace penstock {

class PurgeDesk {
 public:
  [[nodiscard]] static Result<std::unique_ptr<PurgeDesk>> create();
  PurgeDesk(const PurgeDesk&) = delete;
  PurgeDesk& operator=(const PurgeDesk&) = delete;

  // Any thread. `number` is what CacheTable::purge() gave.
  void add(uint64_t number, uint32_t reactor, Handle exchange);
  // Becomes readable when somebody waits; tell() reads it.
  [[nodiscard]] int wake_fd() const { return wake_.get(); }

  // Control thread, after CacheTable::maintain(). True while somebody still waits.
  bool tell(const CacheTable& cache, std::span<const std::unique_ptr<Inbox>> inboxes);

 private:
  struct Waiter {
    uint64_t number;
    uint32_t reactor;
    Handle exchange;
  };
  explicit PurgeDesk(UniqueFd wake) : wake_(std::move(wake)) {}

  std::mutex mutex_;
  std::vector<Waiter> waiters_;
  UniqueFd wake_;
};

}  // namespace penstock
