#include "src/admin/event_loop.h"

#include <algorithm>
#include <climits>

namespace penstock {

Result<EventLoop> EventLoop::open() {
  EventLoop loop;
  loop.fd_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!loop.fd_.valid()) return fail_errno("epoll_create1");
  return loop;
}

Status EventLoop::watch(int fd, uint64_t token, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  if (::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno("epoll_ctl add");
  return {};
}

Status EventLoop::rewatch(int fd, uint64_t token, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  if (::epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &event) != 0) return fail_errno("epoll_ctl modify");
  return {};
}

void EventLoop::unwatch(int fd) {
  if (fd >= 0) ::epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

std::span<const EventLoop::Ready> EventLoop::wait(Duration timeout) {
  int ms = -1;
  // Rounded up: waking a little early would only turn the loop once more for nothing.
  if (timeout.ns >= 0) ms = static_cast<int>(std::min<int64_t>((timeout.ns + 999'999) / 1'000'000, INT_MAX));
  const int count = ::epoll_wait(fd_.get(), raw_.data(), BATCH, ms);
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i);
    ready_[at] = {raw_[at].data.u64, raw_[at].events};
  }
  return {ready_.data(), static_cast<size_t>(std::max(count, 0))};
}

}  // namespace penstock
