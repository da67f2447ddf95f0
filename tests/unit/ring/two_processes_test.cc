// Real shared memory, real doorbells, a real process at the other end.
#include "pool/ring/server_link.h"
#include "pool/ring/worker_link.h"

#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <poll.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <thread>

namespace penstock {
namespace {

constexpr uint32_t ROUND_TRIPS = 20'000;

void ring_bell(const UniqueFd& doorbell) {
  const uint64_t one = 1;
  ASSERT(::write(doorbell.get(), &one, sizeof one) == sizeof one);
}

void wait_for(const UniqueFd& doorbell) {
  uint64_t count = 0;
  ASSERT(::read(doorbell.get(), &count, sizeof count) == sizeof count);
}

// Answers each request with the first bytes of its body, until STOP.
void work(const SegmentMemory& memory, const UniqueFd& server_bell, const UniqueFd& worker_bell) {
  const UniqueFd server_half = read_only(memory.server_half.get()).value();
  const Segment segment = Segment::map(server_half.get(), memory.worker_half.get(), Segment::Side::WORKER).value();
  WorkerLink link(segment.channel(0));
  WorkerEvent event;
  for (;;) {
    while (link.next(event)) {
      if (event.kind == WorkerEvent::Kind::STOP) return;
      if (event.kind != WorkerEvent::Kind::REQUEST) continue;
      const bool sent = link.send_head(event.exchange, {.length = event.body.size()}, event.body, true);
      ASSERT(sent);
    }
    if (link.flush()) ring_bell(server_bell);
    if (link.may_sleep()) wait_for(worker_bell);
    link.awake();
  }
}

class TwoSides : public ::testing::Test {
 protected:
  pid_t start_worker() {
    const pid_t worker = ::fork();
    if (worker != 0) return worker;
    work(memory_, server_bell_, worker_bell_);
    ::_exit(0);
  }

  void listen() {
    LinkEvent event;
    while (link_.next(event)) {
      if (event.kind != LinkEvent::Kind::HEAD) continue;
      EXPECT_TRUE(event.end);
      EXPECT_EQ(event.body, std::to_string(event.serial));
      ++answered_;
    }
    ASSERT_EQ(link_.violation(), LinkViolation::NONE) << violation_sentence(link_.violation());
  }

  void wait() {
    if (link_.flush()) ring_bell(worker_bell_);
    if (link_.may_sleep()) wait_for(server_bell_);
    link_.awake();
  }

  // Bursts of one to forty: the other end sleeps between some of them.
  void ask_all() {
    while (answered_ < ROUND_TRIPS && !HasFatalFailure()) {
      for (uint32_t i = 0; i < 1 + asked_ % 40 && asked_ < ROUND_TRIPS; ++i) {
        const std::span<char> room = link_.request_room();
        if (room.empty()) break;
        const std::string body = std::to_string(asked_);
        std::memset(room.data(), 0, sizeof(penstock_request_head));
        std::memcpy(room.data() + sizeof(penstock_request_head), body.data(), body.size());
        (void)link_.begin({.serial = asked_++,
                           .head_bytes = sizeof(penstock_request_head),
                           .body_bytes = static_cast<uint32_t>(body.size()),
                           .length = body.size()});
      }
      wait();
      listen();
    }
    EXPECT_EQ(link_.open_exchanges(), 0U);
    ASSERT_TRUE(link_.stop());
    if (link_.flush()) ring_bell(worker_bell_);
  }

  SegmentMemory memory_ = create_segment({}).value();
  UniqueFd server_bell_{::eventfd(0, EFD_CLOEXEC)};
  UniqueFd worker_bell_{::eventfd(0, EFD_CLOEXEC)};
  UniqueFd worker_half_ = read_only(memory_.worker_half.get()).value();
  Segment segment_ = Segment::map(memory_.server_half.get(), worker_half_.get(), Segment::Side::SERVER).value();
  ServerLink link_{segment_.channel(0), 1, {}};
  uint32_t asked_ = 0;
  uint32_t answered_ = 0;
};

TEST_F(TwoSides, lose_no_wake_up_between_two_threads) {
  std::thread worker([this] { work(memory_, server_bell_, worker_bell_); });
  ask_all();
  worker.join();
}

TEST_F(TwoSides, lose_no_wake_up_between_two_processes) {
  const pid_t worker = start_worker();
  ASSERT_GE(worker, 0);
  ask_all();
  int status = 0;
  ASSERT_EQ(::waitpid(worker, &status, 0), worker);
  EXPECT_EQ(status, 0);
}

TEST_F(TwoSides, survive_the_other_ones_death) {
  const pid_t worker = start_worker();
  ASSERT_GE(worker, 0);
  while (answered_ < 1000 && !HasFatalFailure()) {
    while (!link_.request_room().empty()) {
      const std::string body = std::to_string(asked_);
      const std::span<char> room = link_.request_room();
      std::memcpy(room.data(), body.data(), body.size());
      (void)link_.begin({.serial = asked_++, .head_bytes = 0, .body_bytes = static_cast<uint32_t>(body.size())});
    }
    wait();
    listen();
  }
  ::kill(worker, SIGKILL);
  ASSERT_EQ(::waitpid(worker, nullptr, 0), worker);
  listen();
  EXPECT_EQ(asked_, answered_ + link_.open_exchanges()) << "each request was answered or is known to be inside";
}

}  // namespace
}  // namespace penstock
