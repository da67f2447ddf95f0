// Invariants: a slot is busy from take() to leave(), both with the interpreter's lock held: so is interrupt(), and the
// exception meets the request that it is for, or none. While requests wait and a thread is idle, one is called or on
// its way to take() (coming_).
#include "pool/runtimes/wsgi/request_threads.h"

#include "pool/runtimes/wsgi/call.h"
#include "src/base/clock.h"

#include <algorithm>
#include <unistd.h>

namespace penstock {

RequestThreads::RequestThreads(WsgiApplication& application, uint32_t count, Duration hanging_after)
    : application_(application), hanging_after_(hanging_after), slots_(count) {
  {
    const GilHold hold;
    cancelled_type_.reset(PyErr_NewException("penstock.Cancelled", PyExc_BaseException, nullptr));
    PyErr_Clear();  // without memory for it nothing is interrupted
  }
  threads_.reserve(count);
  for (Slot& slot : slots_) threads_.emplace_back([this, &slot] { run(slot); });
  watch_ = std::thread([this] { watch(); });
}

void RequestThreads::push(penstock_worker* worker, std::unique_ptr<Transfer> transfer) {
  const std::lock_guard lock(mutex_);
  worker_ = worker;
  waiting_.push_back(std::move(transfer));
  if (coming_ == Coming::NOBODY && helper_ != nullptr && helper_->thread == std::this_thread::get_id()) {
    helper_->comes = true;
    coming_ = Coming::ON_ITS_WAY;
  }
  call_one();
}

// Has somebody come for what waits. REQUIRES: mutex_ held.
void RequestThreads::call_one() {
  if (coming_ != Coming::NOBODY || waiting_.empty()) return;
  if (idle_ > 0) {
    came_.notify_one();
  } else if (helper_ != nullptr) {
    penstock_worker_nudge(worker_);
  } else {
    return;  // all are busy: whoever is done looks
  }
  coming_ = Coming::CALLED;
}

std::unique_ptr<Transfer> RequestThreads::cancel(const Transfer& transfer, bool interrupt) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& one) { return one.get() == &transfer; });
  if (found != waiting_.end()) {
    std::unique_ptr<Transfer> back = std::move(*found);
    waiting_.erase(found);
    return back;
  }
  for (Slot& slot : slots_) {
    if (!slot.busy || slot.cancelled || slot.serial != transfer.head.serial) continue;
    slot.cancelled = true;
    slot.interrupt = interrupt;
    slot.since = RealClock().now();
    ++cancelled_;
    to_interrupt_ = to_interrupt_ || interrupt;
    watched_.notify_one();
  }
  return nullptr;
}

void RequestThreads::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    came_.notify_all();
    if (helper_ != nullptr) penstock_worker_nudge(worker_);
  }
  for (std::thread& thread : threads_) thread.join();
  {
    const std::lock_guard lock(mutex_);
    watch_ends_ = true;
    watched_.notify_one();
  }
  watch_.join();
  const GilHold hold;
  cancelled_type_.reset();
}

// --- a thread -------------------------------------------------------------------------------

std::unique_ptr<Transfer> RequestThreads::take(Slot& slot) {
  const std::lock_guard lock(mutex_);
  if (std::exchange(slot.comes, false)) coming_ = Coming::NOBODY;
  if (waiting_.empty()) return nullptr;
  std::unique_ptr<Transfer> first = std::move(waiting_.front());
  waiting_.pop_front();
  call_one();
  slot.busy = true;
  slot.serial = first->head.serial;
  slot.what.assign(first->head.method).append(" ").append(first->head.target);
  return first;
}

void RequestThreads::leave(Slot& slot) {
  const std::lock_guard lock(mutex_);
  if (slot.cancelled) {
    --cancelled_;
    (void)PyThreadState_SetAsyncExc(slot.python_id, nullptr);  // too late for this one, and not for the next
  }
  slot.busy = slot.cancelled = slot.interrupt = slot.told = false;
}

bool RequestThreads::wait(Slot& slot) {
  std::unique_lock lock(mutex_);
  while (!stopped_ && waiting_.empty()) {
    if (std::exchange(slot.comes, false)) coming_ = Coming::NOBODY;  // somebody else has taken it
    if (worker_ != nullptr && helper_ == nullptr) {
      help(slot, lock);
    } else {
      ++idle_;
      came_.wait(lock, [this] { return stopped_ || coming_ == Coming::CALLED; });
      --idle_;
    }
    if (coming_ != Coming::CALLED) continue;
    coming_ = Coming::ON_ITS_WAY;
    slot.comes = true;
  }
  return !waiting_.empty();
}

void RequestThreads::help(Slot& slot, std::unique_lock<std::mutex>& lock) {
  penstock_worker* const worker = worker_;
  helper_ = &slot;
  lock.unlock();
  const bool goes_on = penstock_worker_help(worker) != 0;
  lock.lock();
  helper_ = nullptr;
  if (!goes_on) worker_ = nullptr;
}

// A request is taken once the interpreter's lock is held: until then a thread that has the lock may take it.
void RequestThreads::run(Slot& slot) {
  const GilHold hold;
  slot.python_id = PyThread_get_thread_ident();
  slot.thread = std::this_thread::get_id();
  for (bool more = true; more;) {
    while (std::unique_ptr<Transfer> transfer = take(slot)) {
      WsgiCall(application_, std::move(transfer)).run();
      leave(slot);
    }
    const GilRelease others_go_on;
    more = wait(slot);
  }
  const std::lock_guard lock(mutex_);
  slot.ended = true;
}

// --- those that hang ------------------------------------------------------------------------

void RequestThreads::watch() {
  std::unique_lock lock(mutex_);
  while (!watch_ends_) {
    if (std::exchange(to_interrupt_, false)) {
      lock.unlock();
      interrupt();
      lock.lock();
      continue;
    }
    if (cancelled_ == 0) {
      watched_.wait(lock);
      continue;
    }
    if (look_for_hanging()) {
      static constexpr std::string_view LAST =
          "penstock-wsgi: every thread hangs in a request that was given up; this worker ends\n";
      (void)!::write(STDERR_FILENO, LAST.data(), LAST.size());
      ::_exit(HANGING_EXIT);
    }
    watched_.wait_for(lock, std::chrono::nanoseconds(hanging_after_.ns / 8));
  }
}

void RequestThreads::interrupt() {
  const GilHold hold;
  const std::lock_guard lock(mutex_);
  for (Slot& slot : slots_) {
    if (!std::exchange(slot.interrupt, false) || !cancelled_type_) continue;
    (void)PyThreadState_SetAsyncExc(slot.python_id, cancelled_type_.get());
  }
}

// Whether all do. REQUIRES: mutex_ held.
bool RequestThreads::look_for_hanging() {
  const MonoTime now = RealClock().now();
  bool all = true;
  for (Slot& slot : slots_) {
    const bool hangs = slot.cancelled && now - slot.since >= hanging_after_;
    all = all && (hangs || slot.ended);
    if (!hangs || std::exchange(slot.told, true)) continue;
    const std::string line = "penstock-wsgi: a thread hangs in " + slot.what + ", which was given up\n";
    (void)!::write(STDERR_FILENO, line.data(), line.size());
  }
  return all;
}

}  // namespace penstock
