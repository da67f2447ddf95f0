// Reactor: one thread, one transport, one loop.
//
// A turn: wait for events, let each change its connection, take what files, other threads and timers
// have to say, then hand all answers of the turn to the transport; the next poll submits them at once.
// The clock is read once a turn. Nothing here knows HTTP; see connections.h and walk.h.
#pragma once

#include "src/base/adaptive_spin.h"
#include "src/server/core.h"

#include <array>
#include <atomic>
#include <memory>
#include <vector>

namespace penstock {

struct ReactorParts {
  uint32_t index = 0;
  Transport& transport;
  FileReader& reader;
  Loader& loader;
  Journal& journal;
  Counters& counters;
  Clock& clock;
  ServerShared& shared;
  int compress_wake_fd = -1;  // an eventfd that the CompressQueue writes; -1: none
  ReactorLimits limits;
  // What is for other reactors comes in through this one's transport as well: drained, it turns on until it is stopped.
  bool carries_for_others = false;
};

class Reactor {
 public:
  explicit Reactor(const ReactorParts& parts);
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  ~Reactor();

  // Registers the wake sources. Once, on the reactor's thread, before the first turn.
  [[nodiscard]] Status start();

  // One turn; waits at most until `deadline`.
  void turn(MonoTime deadline);

  // Turns until STOP, or until it was told to drain and nothing is left to do (carries_for_others: until STOP).
  void run();

  // It was told to drain, and no connection is left.
  [[nodiscard]] bool drained() const;
  [[nodiscard]] bool stopped() const { return stopped_; }
  // Drained, as another thread may see it, and turning on.
  [[nodiscard]] bool at_rest() const { return at_rest_.load(std::memory_order_acquire); }
  // Everything that is lent by a pool has come back: for tests at the end of a run.
  [[nodiscard]] bool pools_are_full() const;

 private:
  void take_time();
  void adopt_config();
  void leave();
  [[nodiscard]] MonoTime wait_until(MonoTime deadline) const;
  [[nodiscard]] bool spins();
  void look_ahead(size_t events);
  void handle(const TransportEvent& event);
  void take_messages();
  void obey(const ReactorMessage& message);
  void take_loads();
  void take_timers();
  void count_transport();
  void tell_control();

  Core core_;
  int compress_wake_fd_;
  bool stopped_ = false;
  bool carries_for_others_;
  std::atomic<bool> at_rest_{false};  // set once, by the reactor's thread
  // Connections that were accepted before a listener was let go may still arrive: Transport::remove_listener().
  static constexpr int ACCEPTED_LATE_TURNS = 2;
  int turns_to_accept_ = 0;  // while draining
  Http2Options http2_;       // as the config of the last turn has them
  bool looked_ = false;      // a LOOK is to be answered when this turn is over
  bool inbox_woken_ = false;
  bool compress_woken_ = false;
  AdaptiveSpin spin_;  // over the rings of workers that have requests of ours
  int64_t date_second_ = INT64_MIN;
  MonoTime wall_paired_;
  MonoTime last_now_;
  TransportCounters counted_{};
  std::vector<ReactorMessage> messages_;
  std::array<TransportEvent, 256> events_;
};

}  // namespace penstock
