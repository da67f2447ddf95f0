// Invariant: an entry is in the epoll set exactly while its `events` are not 0.
#include "pool/runtimes/gateway/runtime_loop.h"

#include "pool/sdk/worker.h"
#include "src/base/assert.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <sys/epoll.h>
#include <sys/signalfd.h>

namespace penstock {
namespace {

constexpr uint64_t WORKER = UINT64_MAX;
constexpr uint64_t SIGNALS = UINT64_MAX - 1;
constexpr int EVENTS_MAX = 64;

int control(const UniqueFd& epoll, int what, int fd, uint32_t events, uint64_t key) {
  epoll_event event{.events = events, .data = {.u64 = key}};
  return ::epoll_ctl(epoll.get(), what, fd, &event);
}

}  // namespace

Result<std::unique_ptr<RuntimeLoop>> RuntimeLoop::make(bool takes_sigterm) {
  std::unique_ptr<RuntimeLoop> loop(new RuntimeLoop);
  loop->now_ = loop->clock_.now();
  loop->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_.valid()) return fail_errno("epoll_create1");
  if (!takes_sigterm) return loop;
  sigset_t asked;
  ::sigemptyset(&asked);
  ::sigaddset(&asked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &asked, nullptr);
  loop->signals_.reset(::signalfd(-1, &asked, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!loop->signals_.valid()) return fail_errno("signalfd");
  if (control(loop->epoll_, EPOLL_CTL_ADD, loop->signals_.get(), EPOLLIN, SIGNALS) != 0) return fail_errno("epoll_ctl");
  return loop;
}

Result<RuntimeLoop::Watch> RuntimeLoop::watch(int fd, uint32_t events, std::function<void(uint32_t)> call) {
  const Watch watch = ++last_;
  if (events != 0 && control(epoll_, EPOLL_CTL_ADD, fd, events, watch) != 0) return fail_errno("epoll_ctl");
  entries_.emplace(watch, std::make_unique<Entry>(Entry{.fd = fd, .events = events, .call = std::move(call)}));
  return watch;
}

void RuntimeLoop::change(Watch watch, uint32_t events) {
  Entry& entry = *entries_.at(watch);
  if (entry.events == events) return;
  // Out of the set altogether for 0: a hung-up pipe would be reported all the time.
  const int what = events == 0 ? EPOLL_CTL_DEL : entry.events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  ASSERT(control(epoll_, what, entry.fd, events, watch) == 0);
  entry.events = events;
}

void RuntimeLoop::forget(Watch& watch) {
  if (watch == 0) return;
  const auto found = entries_.find(watch);
  ASSERT(found != entries_.end());
  if (found->second->events != 0) ASSERT(control(epoll_, EPOLL_CTL_DEL, found->second->fd, 0, watch) == 0);
  forgotten_.push_back(std::move(found->second));
  entries_.erase(found);
  watch = 0;
}

RuntimeLoop::Timer RuntimeLoop::after(Duration wait, std::function<void()> call) {
  const Timer timer{clock_.now() + wait, ++last_};
  timers_.emplace(timer, std::move(call));
  return timer;
}

void RuntimeLoop::cancel(Timer& timer) {
  timers_.erase(timer);
  timer = Timer{};
}

int RuntimeLoop::wait_ms() const {
  if (timers_.empty()) return -1;
  const int64_t left = (timers_.begin()->first.at - now_).ns;
  // Rounded up: woken early it would only wait again.
  return static_cast<int>(std::clamp<int64_t>((left + 999'999) / 1'000'000, 0, 3'600'000));
}

void RuntimeLoop::fire_timers() {
  while (!timers_.empty() && timers_.begin()->first.at <= now_) {
    const auto due = timers_.extract(timers_.begin());
    due.mapped()();
  }
}

bool RuntimeLoop::finish_turn() {
  const bool some = !ends_.empty();
  due_ends_.swap(ends_);
  for (size_t i = 0; i < due_ends_.size(); ++i) {
    if (due_ends_[i].first != nullptr) due_ends_[i].second();
  }
  due_ends_.clear();
  forgotten_.clear();
  return some;
}

// Until nothing is left but to wait: the end of a turn may use exchanges, and these may end another turn.
bool RuntimeLoop::settle(penstock_worker* worker) {
  do {
    if (sdk_step(*worker, false) == 0) return false;
  } while (finish_turn());
  return true;
}

void RuntimeLoop::forget_ends(const void* owner) {
  for (Ends* const ends : {&ends_, &due_ends_}) {
    for (auto& [whose, call] : *ends) whose = whose == owner ? nullptr : whose;
  }
}

void RuntimeLoop::gather(Duration patience, std::function<bool()> wanted) {
  gather_time_ = patience;
  gather_wanted_ = std::move(wanted);
}

int RuntimeLoop::take_events(int timeout_ms) {
  epoll_event events[EVENTS_MAX];
  const int count = ::epoll_wait(epoll_.get(), events, EVENTS_MAX, timeout_ms);
  ASSERT(count >= 0 || errno == EINTR);
  now_ = clock_.now();
  rang_ = false;
  for (int i = 0; i < count; ++i) {
    const uint64_t key = events[i].data.u64;
    if (key == SIGNALS) return -1;
    if (key == WORKER) rang_ = true;
    const auto found = entries_.find(key);  // an earlier event of this turn may have forgotten it
    if (found == entries_.end()) continue;
    Entry& entry = *found->second;
    entry.call(events[i].events);
  }
  fire_timers();
  (void)finish_turn();
  return std::max(count, 0);
}

bool RuntimeLoop::run(penstock_worker* worker) {
  // Edge-triggered: an eventfd that is written again is a new edge, so that it never has to be read.
  ASSERT(control(epoll_, EPOLL_CTL_ADD, penstock_worker_fd(worker), EPOLLIN | EPOLLET, WORKER) == 0);
  while (settle(worker)) {
    const bool gathers = gather_wanted_ != nullptr && gather_wanted_();
    now_ = clock_.now();
    const int count = take_events(wait_ms());
    if (count < 0) return false;
    if (!gathers || count == 0 || rang_) continue;
    const timespec patience{.tv_sec = 0, .tv_nsec = static_cast<long>(gather_time_.ns)};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &patience, nullptr);  // allow sleep: nothing that comes is to end it
    if (take_events(0) < 0) return false;
  }
  return true;
}

}  // namespace penstock
