// Inbox: how other threads speak to a reactor. One per reactor.
//
// post() from any thread: a short lock, and one write to an eventfd when the inbox was empty. The
// reactor takes everything at once between events. Only cold paths come here: the end of a fill that
// this reactor waits for, and orders of the control thread.
#pragma once

#include "cache/entry.h"
#include "src/base/handle.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"
#include "src/files/loader.h"
#include "src/transport/transport.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace penstock {

struct PoolWorker;
struct SharedPool;

struct ReactorMessage {
  enum class Kind : uint8_t {
    FILL_DONE,         // for `exchange`: `entry` (a pin comes with it) or, without one, try for yourself
    DRAIN,             // stop accepting, finish what is in flight, close what is idle
    STOP,              // leave run() now
    LOOK,              // there is a new config: adopted at the turn that this message begins
    ADD_LISTENER,      // `listener`, `fd`, `layers`: the fd stays the control thread's
    SET_LAYERS,        // `listener` speaks `layers` from its next connection on
    REMOVE_LISTENER,   // `listener`
    ACCEPT_AGAIN,      // look at what waits on the listeners
    PURGED,            // for `exchange`: `fell` entries fell to purge number `purge`
    WORKER_ADDED,      // `worker`: a link to it is to be made
    WORKER_RETIRED,    // `worker` gets nothing more
    WORKER_GONE,       // `worker` has ended: let go of it
    WORKER_SUSPENDED,  // `worker` is about to sleep: no pings
    WORKER_RESUMED,    // `worker` takes requests again
    POOL_SERVICE,      // `pool` is in service or out of it
    POOL_TURN,         // a place in a worker of `pool` is free, and the next request of this reactor may have it
  };
  Kind kind = Kind::STOP;
  Handle exchange;
  const Entry* entry = nullptr;
  uint32_t listener = 0;
  int fd = -1;
  ListenerLayers layers;
  PoolWorker* worker = nullptr;
  SharedPool* pool = nullptr;
  uint64_t purge = 0;
  uint64_t fell = 0;
};

class Inbox {
 public:
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  [[nodiscard]] static Result<std::unique_ptr<Inbox>> create();

  void post(const ReactorMessage& message);
  // Moves everything posted to `messages` (cleared first). Reactor thread.
  void take(std::vector<ReactorMessage>& messages);
  // Becomes readable when something was posted to an empty inbox; a Transport wake source.
  [[nodiscard]] int wake_fd() const { return event_.get(); }

 private:
  explicit Inbox(UniqueFd event) : event_(std::move(event)) {}

  std::mutex mutex_;
  std::vector<ReactorMessage> messages_;
  UniqueFd event_;
};

}  // namespace penstock
