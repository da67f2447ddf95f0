// RequestThreads: the threads that call the application, and the queue before them.
#pragma once

#include "pool/runtimes/wsgi/application.h"
#include "pool/runtimes/wsgi/transfer.h"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace penstock {

class RequestThreads {
 public:
  // `application` outlives this.
  RequestThreads(WsgiApplication& application, uint32_t count);
  RequestThreads(const RequestThreads&) = delete;
  RequestThreads& operator=(const RequestThreads&) = delete;
  ~RequestThreads() = default;  // REQUIRES: stop() was called

  // Any thread, without waiting. How many may come is the pool's concurrency.
  void push(std::unique_ptr<Transfer> transfer);
  // One that waits still, back again; none where a thread has it.
  [[nodiscard]] std::unique_ptr<Transfer> withdraw(const Transfer* transfer);
  // Ends the threads when they are done with what they have. REQUIRES: the interpreter's lock is not held.
  void stop();

 private:
  void run();
  [[nodiscard]] std::unique_ptr<Transfer> take();
  [[nodiscard]] bool wait();  // false: no more will come

  WsgiApplication& application_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<std::unique_ptr<Transfer>> waiting_;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace penstock
