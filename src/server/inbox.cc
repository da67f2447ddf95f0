#include "src/server/inbox.h"

#include "src/base/doorbell.h"

#include <memory>
#include <sys/eventfd.h>

namespace penstock {

Result<std::unique_ptr<Inbox>> Inbox::create() {
  UniqueFd event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event.valid()) return fail_errno("eventfd for a reactor's inbox");
  return std::unique_ptr<Inbox>(new Inbox(std::move(event)));  // private constructor: make_unique cannot
}

void Inbox::post(const ReactorMessage& message) {
  bool was_empty = false;
  {
    const std::lock_guard lock(mutex_);
    was_empty = messages_.empty();
    messages_.push_back(message);
  }
  if (!was_empty) return;  // the reactor was woken for an earlier one and has not come yet
  (void)ring_bell(event_.get());
}

void Inbox::take(std::vector<ReactorMessage>& messages) {
  messages.clear();
  const std::lock_guard lock(mutex_);
  messages.swap(messages_);
}

}  // namespace penstock
