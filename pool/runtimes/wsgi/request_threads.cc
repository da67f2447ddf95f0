// Invariants: a slot is busy from take() to leave(), both with the interpreter's lock held: so is interrupt(), and the
// exception meets the request that it is for, or none. While requests wait and a thread is idle, one is called or on
// its way to take() (coming_).
#include "pool/runtimes/wsgi/request_threads.h"

#include "pool/runtimes/wsgi/call.h"
#include "src/base/clock.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

// A client that goes interrupts nothing: the application may have work to finish.
constexpr int64_t GONE_PATIENCE = 100;
// Who wants the interpreter's lock has it asked for every 5 ms, and gets it before each of those that compute or not.
constexpr Duration LOCK_PER_BUSY = milliseconds(25);

[[noreturn]] void end_process(std::string_view why) {
  (void)!::write(STDERR_FILENO, why.data(), why.size());
  ::_exit(HANGING_EXIT);
}

}  // namespace

RequestThreads::RequestThreads(WsgiApplication& application, uint32_t count, Duration hanging_after)
    : application_(application), hanging_after_(hanging_after), count_(count), slots_(2 * static_cast<size_t>(count)) {
  {
    const GilHold hold;
    cancelled_type_.reset(PyErr_NewException("penstock.Cancelled", PyExc_BaseException, nullptr));
    PyErr_Clear();  // without memory for it nothing is interrupted
  }
  {
    const std::lock_guard lock(mutex_);
    for (uint32_t i = 0; i < count; ++i) (void)begin(slots_[i]);
    if (working_ == 0) end_process("penstock-wsgi: no thread can be started\n");
  }
  watch_ = std::thread([this] { watch(); });
  interrupter_ = std::thread([this] { interrupt_when_asked(); });
}

// A thread for that slot. False: the system has none. REQUIRES: mutex_ held, slot.ended.
bool RequestThreads::begin(Slot& slot) {
  if (slot.handle.joinable()) ended_.push_back(std::move(slot.handle));
  slot.ended = slot.surplus = false;
  ++working_;
  try {
    slot.handle = std::thread([this, &slot] { run(slot); });
  } catch (const std::system_error&) {
    slot.ended = true;
    --working_;
  }
  return !slot.ended;
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
    const MonoTime now = RealClock().now();
    slot.cancelled = true;
    slot.interrupt = interrupt;
    slot.hangs_from = now + (interrupt ? hanging_after_ : hanging_after_ * GONE_PATIENCE);
    ++cancelled_;
    watched_.notify_one();
    if (!interrupt || interrupt_since_ != MonoTime::never()) continue;
    interrupt_since_ = now;
    interrupts_.notify_one();
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
  for (Slot& slot : slots_) {  // none begins any more
    if (slot.handle.joinable()) slot.handle.join();
  }
  {
    const std::lock_guard lock(mutex_);
    watch_ends_ = true;
    watched_.notify_one();
    interrupts_.notify_one();
  }
  watch_.join();
  interrupter_.join();
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
  ++busy_;
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
  if (slot.told) {  // it was lost, and is not
    slot.surplus = working_ == count_;
    if (!slot.surplus) ++working_;
  }
  --busy_;
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
  for (bool more = true; more && !slot.surplus;) {
    std::unique_ptr<Transfer> transfer;
    while (!slot.surplus && (transfer = take(slot)) != nullptr) {
      WsgiCall(application_, std::move(transfer)).run();
      leave(slot);
    }
    if (slot.surplus) break;
    const GilRelease others_go_on;
    more = wait(slot);
  }
  const std::lock_guard lock(mutex_);
  if (!slot.surplus) --working_;
  slot.ended = true;
  watched_.notify_one();
}

// --- those that hang ------------------------------------------------------------------------

// Never waits for the interpreter's lock, but for threads that are as good as over.
void RequestThreads::watch() {
  std::unique_lock lock(mutex_);
  while (!watch_ends_) {
    const MonoTime now = RealClock().now();
    if (cancelled_ > 0 && look_for_hanging(now)) {
      end_process("penstock-wsgi: every thread hangs in a request that was given up; this worker ends\n");
    }
    if (now >= lock_due()) {
      end_process("penstock-wsgi: a request that was given up does not let others run; this worker ends\n");
    }
    if (!ended_.empty()) {
      std::vector<std::thread> ended = std::exchange(ended_, {});
      lock.unlock();
      for (std::thread& thread : ended) thread.join();
      lock.lock();
      continue;
    }
    const MonoTime next = next_look();
    if (next == MonoTime::never()) {
      watched_.wait(lock);
    } else {
      watched_.wait_for(lock, std::chrono::nanoseconds(std::max<int64_t>((next - now).ns, 0)));
    }
  }
}

void RequestThreads::interrupt_when_asked() {
  std::unique_lock lock(mutex_);
  while (!watch_ends_) {
    if (interrupt_since_ == MonoTime::never()) {
      interrupts_.wait(lock);
      continue;
    }
    lock.unlock();
    interrupt();
    lock.lock();
  }
}

void RequestThreads::interrupt() {
  const GilHold hold;
  const std::lock_guard lock(mutex_);
  interrupt_since_ = MonoTime::never();
  for (Slot& slot : slots_) {
    if (!std::exchange(slot.interrupt, false) || !cancelled_type_) continue;
    (void)PyThreadState_SetAsyncExc(slot.python_id, cancelled_type_.get());
  }
}

// Has spare threads take the place of those that hang. Whether all do. REQUIRES: mutex_ held.
bool RequestThreads::look_for_hanging(MonoTime now) {
  bool all = true;
  for (Slot& slot : slots_) {
    const bool hangs = slot.cancelled && now >= slot.hangs_from;
    all = all && (hangs || slot.ended);
    if (!hangs || std::exchange(slot.told, true)) continue;
    --working_;
    const std::string line = "penstock-wsgi: a thread hangs in " + slot.what + ", which was given up\n";
    (void)!::write(STDERR_FILENO, line.data(), line.size());
  }
  for (Slot& slot : slots_) {
    if (stopped_ || working_ >= count_) break;
    if (slot.ended && begin(slot)) all = false;
  }
  return all;
}

// When the interpreter's lock will have been asked for in vain for too long. REQUIRES: mutex_ held.
MonoTime RequestThreads::lock_due() const {
  if (cancelled_ == 0 || interrupt_since_ == MonoTime::never()) return MonoTime::never();
  return interrupt_since_ + hanging_after_ + LOCK_PER_BUSY * busy_;
}

MonoTime RequestThreads::next_look() const {
  MonoTime next = lock_due();
  for (const Slot& slot : slots_) {
    if (slot.cancelled && !slot.told) next = std::min(next, slot.hangs_from);
  }
  return next;
}

}  // namespace penstock
