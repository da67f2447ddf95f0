// RequestThreads: the threads that call the application, the queue before them, and what becomes of one that hangs.
//
// One of those that are idle waits beside the main thread for the front end (penstock_worker_help()), and calls the
// application for what it took: so a request that comes alone costs no change of threads. Meanwhile the main thread is
// the one that is woken.
//
// A request that took too long is given up by the server, but its thread is still inside. It gets the exception
// penstock.Cancelled, which ends whatever runs in Python, with a traceback that says where it was. What waits outside
// of Python hears nothing: the thread is lost until that returns, a line says so, and a spare one takes its place;
// there are as many spare ones as threads. When all are lost the process ends, since a worker that only answers pings
// would stay for ever; and so it does where the interpreter's lock itself cannot be had, for then nothing goes on.
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
  // `application` outlives this. `hanging_after`: how long a thread may be inside after its request took too long;
  // where the client has gone, GONE_PATIENCE times as long. REQUIRES: the interpreter's lock is not held.
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
    bool ended = true;
    bool comes = false;  // this is who coming_ speaks of
    std::thread::id thread;
    MonoTime hangs_from;   // once it is cancelled
    bool surplus = false;  // came back after a spare one had taken its place
    std::thread handle;
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
  [[nodiscard]] bool begin(Slot& slot);
  void watch();
  void interrupt_when_asked();
  void interrupt();
  [[nodiscard]] bool look_for_hanging(MonoTime now);
  [[nodiscard]] MonoTime lock_due() const;
  [[nodiscard]] MonoTime next_look() const;

  WsgiApplication& application_;
  const Duration hanging_after_;
  PyRef cancelled_type_;
  std::mutex mutex_;  // taken with the interpreter's lock held or without, which is never waited for within
  std::condition_variable came_;
  std::condition_variable watched_;
  std::condition_variable interrupts_;
  std::deque<std::unique_ptr<Transfer>> waiting_;
  penstock_worker* worker_ = nullptr;  // from the first request until nobody can help
  Slot* helper_ = nullptr;             // of the thread that helps
  uint32_t idle_ = 0;                  // threads that wait for came_
  Coming coming_ = Coming::NOBODY;
  const uint32_t count_;                          // that call the application at a time
  std::vector<Slot> slots_;                       // of them and of as many spare ones
  uint32_t working_ = 0;                          // threads that neither hang nor have ended
  uint32_t busy_ = 0;                             // slots that are
  uint32_t cancelled_ = 0;                        // slots that are
  MonoTime interrupt_since_ = MonoTime::never();  // exceptions are owed
  bool stopped_ = false;
  bool watch_ends_ = false;
  std::vector<std::thread> ended_;  // whose slots others have
  std::thread watch_;
  std::thread interrupter_;  // which waits for the interpreter's lock, so that the watch need not
};

}  // namespace penstock
