// RuntimeLoop: the event loop of a runtime program: the worker's rings, descriptors and timers, on one thread (epoll).
//
// Callbacks may watch, change and forget anything, themselves included. Level-triggered: a callback need not take all.
// After every turn the worker's rings are looked at, so that what callbacks did to exchanges goes out.
#pragma once

#include "pool/sdk/penstock_worker.h"
#include "src/base/clock.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace penstock {

class RuntimeLoop {
 public:
  using Watch = uint64_t;  // 0: none
  struct Timer {           // serial 0: none
    MonoTime at;
    uint64_t serial = 0;
    auto operator<=>(const Timer&) const = default;
  };

  // `takes_sigterm`: run() ends for it, so that processes that were started can be ended, too; else it has its default
  // action. Error: what epoll_create1 and signalfd refuse.
  [[nodiscard]] static Result<std::unique_ptr<RuntimeLoop>> make(bool takes_sigterm);
  RuntimeLoop(const RuntimeLoop&) = delete;
  RuntimeLoop& operator=(const RuntimeLoop&) = delete;

  // `events` as in epoll_ctl(2); 0 watches nothing for now, not even EPOLLHUP. The descriptor stays the caller's, who
  // forgets the watch before it is closed.
  [[nodiscard]] Result<Watch> watch(int fd, uint32_t events, std::function<void(uint32_t)> call);
  void change(Watch watch, uint32_t events);  // REQUIRES: not 0
  void forget(Watch& watch);                  // 0 afterwards; 0 is no error

  [[nodiscard]] Timer after(Duration wait, std::function<void()> call);
  void cancel(Timer& timer);  // none afterwards; none is no error

  [[nodiscard]] MonoTime now() const { return now_; }

  // Lets what answers an application's processes give come together, so that they go out, and the worker is woken, once
  // for several: where `wanted` is true before a turn, what that turn did waits for `patience` for more, unless a
  // request came. Nothing else is done meanwhile, so it is for what is measured in tens of microseconds.
  void gather(Duration patience, std::function<bool()> wanted);
  // Until the worker should end, or SIGTERM came, and was to be taken: false then.
  bool run(penstock_worker* worker);
  // `call` at the end of this turn, or of the next; `owner` takes it back with forget_ends().
  void at_end_of_turn(const void* owner, std::function<void()> call) { ends_.emplace_back(owner, std::move(call)); }
  void forget_ends(const void* owner);

 private:
  struct Entry {
    int fd = -1;
    uint32_t events = 0;
    std::function<void(uint32_t)> call;
  };
  RuntimeLoop() = default;
  [[nodiscard]] int wait_ms() const;
  // How many events there were within `timeout_ms`; -1: SIGTERM.
  [[nodiscard]] int take_events(int timeout_ms);
  void fire_timers();
  bool finish_turn();                                  // whether there was something
  [[nodiscard]] bool settle(penstock_worker* worker);  // false: the worker should end

  RealClock clock_;
  MonoTime now_;
  UniqueFd epoll_;
  UniqueFd signals_;
  uint64_t last_ = 0;  // watch or timer
  bool rang_ = false;  // the worker, in the last turn
  Duration gather_time_;
  std::function<bool()> gather_wanted_;
  std::unordered_map<uint64_t, std::unique_ptr<Entry>> entries_;
  std::vector<std::unique_ptr<Entry>> forgotten_;  // a callback may forget itself; emptied between turns
  std::map<Timer, std::function<void()>> timers_;
  using Ends = std::vector<std::pair<const void*, std::function<void()>>>;
  Ends ends_;
  Ends due_ends_;  // of the turn that is being finished
};

}  // namespace penstock
