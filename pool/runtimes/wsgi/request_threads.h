// RequestThreads: the threads that call the application, the queue before them, and what becomes of one that hangs.
//
// One of those that are idle waits beside the main thread for the front end (penstock_worker_help()), and calls the
// application for what it took: so a request that comes alone costs no change of threads. Meanwhile the main thread is
// the one that is woken.
//
// A request that took too long is given up by the server, but its thread is still inside. It gets the exception
// penstock.Cancelled, which ends whatever runs in Python, with a traceback that says where it was. What waits outside
// of Python hears nothing: the thread is lost until that returns, and a line says so. When all threads are lost the
// process ends, since a worker that only answers pings would stay for ever.
#pragma once

#include "pool/runtimes/wsgi/application.h"
#include "pool/runtimes/wsgi/transfer.h"
#include "src/base/time.h"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace penstock {

inline constexpr int HANGING_EXIT = 70;

class RequestThreads {
 public:
  // `application` outlives this. `hanging_after`: how long a thread may be inside when nobody waits for its answer any
  // more. REQUIRES: the interpreter's lock is not held.
  RequestThreads(WsgiApplication& application, uint32_t count, Duration hanging_after);
  RequestThreads(const RequestThreads&) = delete;
  RequestThreads& operator=(const RequestThreads&) = delete;
  ~RequestThreads() = default;  // REQUIRES: stop() was called

  // The worker's thread, without waiting. How many may come is the pool's concurrency.
  void push(penstock_worker* worker, std::unique_ptr<Transfer> transfer);
  // Nobody wants the answer. One that waits still comes back, to be freed; a thread that has it is watched from now on,
  // and with `interrupt` gets the exception.
  [[nodiscard]] std::unique_ptr<Transfer> cancel(const Transfer& transfer, bool interrupt);
  // Ends the threads when they are done with what they have. REQUIRES: the interpreter's lock is not held.
  void stop();

 private:
  struct Slot {  // of a thread
    unsigned long python_id = 0;
    uint64_t serial = 0;  // of the request inside
    std::string what;     // it asks for
    bool busy = false;
    bool cancelled = false;
    bool interrupt = false;  // to be given the exception
    bool told = false;       // that it hangs
    bool ended = false;
    bool comes = false;  // this is who coming_ speaks of
    std::thread::id thread;
    MonoTime since;  // when it was cancelled
  };
  // Whether a thread was woken for what waits, and has not taken any of it yet. One at a time, since each needs the
  // interpreter's lock; it has the next one woken.
  enum class Coming : uint8_t { NOBODY, CALLED, ON_ITS_WAY };

  void run(Slot& slot);
  [[nodiscard]] std::unique_ptr<Transfer> take(Slot& slot);
  void leave(Slot& slot);
  [[nodiscard]] bool wait(Slot& slot);  // false: no more will come
  void help(Slot& slot, std::unique_lock<std::mutex>& lock);
  void call_one();
  void watch();
  void interrupt();
  [[nodiscard]] bool look_for_hanging();

  WsgiApplication& application_;
  const Duration hanging_after_;
  PyRef cancelled_type_;
  std::mutex mutex_;  // taken with the interpreter's lock held or without, which is never waited for within
  std::condition_variable came_;
  std::condition_variable watched_;
  std::deque<std::unique_ptr<Transfer>> waiting_;
  penstock_worker* worker_ = nullptr;  // from the first request until nobody can help
  Slot* helper_ = nullptr;             // of the thread that helps
  uint32_t idle_ = 0;                  // threads that wait for came_
  Coming coming_ = Coming::NOBODY;
  std::vector<Slot> slots_;
  uint32_t cancelled_ = 0;  // slots that are
  bool to_interrupt_ = false;
  bool stopped_ = false;
  bool watch_ends_ = false;
  std::vector<std::thread> threads_;
  std::thread watch_;
};

}  // namespace penstock
