#include "pool/runtimes/wsgi/request_threads.h"

#include "pool/runtimes/wsgi/call.h"

#include <algorithm>

namespace penstock {

RequestThreads::RequestThreads(WsgiApplication& application, uint32_t count) : application_(application) {
  threads_.reserve(count);
  for (uint32_t i = 0; i < count; ++i) threads_.emplace_back([this] { run(); });
}

void RequestThreads::push(std::unique_ptr<Transfer> transfer) {
  const std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(transfer));
  came_.notify_one();
}

std::unique_ptr<Transfer> RequestThreads::withdraw(const Transfer* transfer) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& one) { return one.get() == transfer; });
  if (found == waiting_.end()) return nullptr;
  std::unique_ptr<Transfer> back = std::move(*found);
  waiting_.erase(found);
  return back;
}

void RequestThreads::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    came_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

std::unique_ptr<Transfer> RequestThreads::take() {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) return nullptr;
  std::unique_ptr<Transfer> first = std::move(waiting_.front());
  waiting_.pop_front();
  return first;
}

bool RequestThreads::wait() {
  std::unique_lock lock(mutex_);
  came_.wait(lock, [this] { return stopped_ || !waiting_.empty(); });
  return !waiting_.empty();
}

// A request is taken once the interpreter's lock is held: until then a thread that has the lock may take it.
void RequestThreads::run() {
  const GilHold hold;
  for (bool more = true; more;) {
    while (std::unique_ptr<Transfer> transfer = take()) WsgiCall(application_, std::move(transfer)).run();
    const GilRelease others_go_on;
    more = wait();
  }
}

}  // namespace penstock
