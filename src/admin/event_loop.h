// EventLoop: epoll for the supervisor's one thread. Reports what is ready; calls nobody.
//
// Each descriptor is watched under a token of the caller's; wait() fills in the tokens that are ready. A token may be
// reported although its descriptor was unwatched earlier in the same batch: handlers look their token up.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <array>
#include <cstdint>
#include <span>
#include <sys/epoll.h>

namespace penstock {

class EventLoop {
 public:
  struct Ready {
    uint64_t token = 0;
    uint32_t events = 0;  // EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR
  };

  [[nodiscard]] static Result<EventLoop> open();

  [[nodiscard]] Status watch(int fd, uint64_t token, uint32_t events = EPOLLIN);
  [[nodiscard]] Status rewatch(int fd, uint64_t token, uint32_t events);
  void unwatch(int fd);  // before the descriptor is closed

  // Blocks until something is ready or `timeout` has passed (negative: as long as it takes). A signal ends it early.
  [[nodiscard]] std::span<const Ready> wait(Duration timeout);

  [[nodiscard]] int fd() const { return fd_.get(); }  // readable when something is ready: loops nest

 private:
  static constexpr int BATCH = 64;
  UniqueFd fd_;
  std::array<epoll_event, BATCH> raw_{};
  std::array<Ready, BATCH> ready_{};
};

}  // namespace penstock
