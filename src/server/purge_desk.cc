#include "src/server/purge_desk.h"

#include "src/base/doorbell.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace penstock {

Result<std::unique_ptr<PurgeDesk>> PurgeDesk::create() {
  UniqueFd wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake.valid()) return fail_errno("eventfd for purges");
  return std::unique_ptr<PurgeDesk>(new PurgeDesk(std::move(wake)));
}

void PurgeDesk::add(uint64_t number, uint32_t reactor, Handle exchange) {
  {
    const std::lock_guard lock(mutex_);
    waiters_.push_back({number, reactor, exchange});
  }
  (void)ring_bell(wake_.get());
}

bool PurgeDesk::tell(const CacheTable& cache, std::span<const std::unique_ptr<Inbox>> inboxes) {
  uint64_t count = 0;
  [[maybe_unused]] const auto taken = ::read(wake_.get(), &count, sizeof count);
  const std::lock_guard lock(mutex_);
  std::erase_if(waiters_, [&](const Waiter& waiter) {
    const std::optional<uint64_t> fell = cache.purge_fell(waiter.number);
    if (!fell) return false;
    ReactorMessage message{.kind = ReactorMessage::Kind::PURGED, .exchange = waiter.exchange};
    message.purge = waiter.number;
    message.fell = *fell;
    inboxes[waiter.reactor]->post(message);
    return true;
  });
  return !waiters_.empty();
}

}  // namespace penstock
