#include "src/uring/ring.h"

#include "src/uring/buffer_ring.h"

#include <algorithm>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <thread>

namespace penstock {
namespace {

// Opens a ring, or skips the test where the machine refuses io_uring.
#define OPEN_RING(ring, ...)                                         \
  auto opened_##ring = Ring::open({__VA_ARGS__});                    \
  if (!opened_##ring) GTEST_SKIP() << opened_##ring.error().message; \
  Ring& ring = **opened_##ring

void queue_nop(Ring& ring, uint64_t user_data) {
  io_uring_sqe* sqe = ring.sqe();
  sqe->opcode = IORING_OP_NOP;
  sqe->user_data = user_data;
}

TEST(Ring, completes_what_is_queued_with_one_enter) {
  OPEN_RING(ring, .sq_entries = 8, .cq_entries = 16);
  ASSERT_TRUE(ring.start());
  for (uint64_t i = 0; i < 5; ++i) queue_nop(ring, 100 + i);
  EXPECT_EQ(ring.queued(), 5U);
  EXPECT_EQ(ring.enter(5, seconds(10)), 0);
  EXPECT_EQ(ring.enter_calls(), 1U);
  EXPECT_EQ(ring.queued(), 0U);
  ASSERT_EQ(ring.ready(), 5U);
  for (uint32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(ring.peek(i).user_data, 100 + i);
    EXPECT_EQ(ring.peek(i).res, 0);
  }
  ring.advance(5);
  EXPECT_EQ(ring.ready(), 0U);
}

TEST(Ring, a_full_queue_is_submitted_to_make_room) {
  OPEN_RING(ring, .sq_entries = 8, .cq_entries = 64);
  ASSERT_TRUE(ring.start());
  for (uint64_t i = 0; i < 30; ++i) queue_nop(ring, i);
  EXPECT_EQ(ring.enter_calls(), 3U);
  EXPECT_EQ(ring.enter(1, seconds(10)), 0);
  ASSERT_EQ(ring.ready(), 30U);
  for (uint32_t i = 0; i < 30; ++i) EXPECT_EQ(ring.peek(i).user_data, i);
}

TEST(Ring, loses_no_completion_when_its_queue_overflows) {
  OPEN_RING(ring, .sq_entries = 8, .cq_entries = 16);
  ASSERT_TRUE(ring.start());
  for (uint64_t i = 0; i < 100; ++i) queue_nop(ring, i);
  std::vector<bool> seen(100);
  for (int round = 0; round < 50; ++round) {
    const int result = ring.enter(0, {});
    ASSERT_TRUE(result == 0 || result == -EBUSY);
    const uint32_t ready = ring.ready();
    for (uint32_t i = 0; i < ready; ++i) seen[ring.peek(i).user_data] = true;
    ring.advance(ready);
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 100);
}

TEST(Ring, waits_no_longer_than_it_is_told) {
  OPEN_RING(ring, .sq_entries = 8, .cq_entries = 16);
  ASSERT_TRUE(ring.start());
  EXPECT_EQ(ring.enter(1, milliseconds(1)), -ETIME);
  EXPECT_EQ(ring.ready(), 0U);
}

TEST(Ring, may_be_opened_by_one_thread_and_started_by_another) {
  OPEN_RING(ring, .sq_entries = 8, .cq_entries = 16);
  std::thread other([&ring] {
    ASSERT_TRUE(ring.start());
    queue_nop(ring, 7);
    EXPECT_EQ(ring.enter(1, seconds(10)), 0);
    ASSERT_EQ(ring.ready(), 1U);
    EXPECT_EQ(ring.peek(0).user_data, 7U);
  });
  other.join();
}

TEST(Ring, restricted_takes_the_operations_it_was_given_and_no_other) {
  OPEN_RING(ring, .sq_entries = 8, .cq_entries = 16);
  constexpr uint8_t ONLY[] = {IORING_OP_NOP};
  ASSERT_TRUE(ring.restrict_to(ONLY, 0));
  ASSERT_TRUE(ring.start());
  io_uring_sqe* open = ring.sqe();
  open->opcode = IORING_OP_OPENAT;
  open->fd = AT_FDCWD;
  open->addr = reinterpret_cast<uint64_t>("/etc/passwd");
  open->user_data = 1;
  queue_nop(ring, 2);
  io_uring_sqe* linked = ring.sqe();  // an allowed operation with a flag that is not
  linked->opcode = IORING_OP_NOP;
  linked->flags = IOSQE_ASYNC;
  linked->user_data = 3;
  while (ring.ready() < 3) ASSERT_EQ(ring.enter(3 - ring.ready(), seconds(10)), 0);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(ring.peek(i).res, ring.peek(i).user_data == 2 ? 0 : -EACCES);
  // Nor may it be given anything new: descriptors, buffers, a second set of restrictions.
  EXPECT_FALSE(ring.register_sparse_files(16));
  EXPECT_FALSE(BufferRing::open(ring, 0, 8, 64));
}

TEST(Ring, refusals_are_told_apart) {
  const char* NO_SYSCTL = "/nonexistent";
  EXPECT_NE(uring_refusal(ENOSYS, "io_uring_setup", NO_SYSCTL).message.find("ENOSYS"), std::string::npos);
  EXPECT_NE(uring_refusal(EPERM, "io_uring_setup", NO_SYSCTL).message.find("seccomp"), std::string::npos);
  EXPECT_NE(uring_refusal(EOPNOTSUPP, "io_uring_setup", NO_SYSCTL).message.find("EOPNOTSUPP"), std::string::npos);
  EXPECT_NE(uring_refusal(ENOMEM, "io_uring_setup", NO_SYSCTL).message.find("ulimit -l"), std::string::npos);
  EXPECT_NE(uring_refusal(ENFILE, "io_uring_setup", NO_SYSCTL).message.find("Too many open files"), std::string::npos);
  for (const int code : {ENOSYS, EPERM, EACCES, EOPNOTSUPP, ENOMEM, EINVAL, ENFILE}) {
    const Error error = uring_refusal(code, "io_uring_setup", NO_SYSCTL);
    EXPECT_EQ(error.code, code);
    EXPECT_EQ(error.message.find('\n'), std::string::npos);
    EXPECT_TRUE(error.message.starts_with("io_uring_setup refused: ")) << error.message;
  }
}

class Receiver {
 public:
  Receiver(Ring& ring, BufferRing& buffers) : ring_(ring), buffers_(buffers) {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_), 0);
    arm();
  }
  ~Receiver() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  void send(std::string_view text) {
    EXPECT_EQ(::send(ends_[1], text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  }
  void arm() {
    io_uring_sqe* sqe = ring_.sqe();
    sqe->opcode = IORING_OP_RECV;
    sqe->fd = ends_[0];
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->buf_group = buffers_.group();
  }

 private:
  Ring& ring_;
  BufferRing& buffers_;
  int ends_[2];
};

TEST(BufferRing, lends_every_buffer_once_and_then_says_enobufs) {
  OPEN_RING(ring, .sq_entries = 8, .cq_entries = 64);
  auto buffers = BufferRing::open(ring, 3, 4, 64);
  ASSERT_TRUE(buffers);
  ASSERT_TRUE(ring.start());
  Receiver receiver(ring, **buffers);
  std::vector<bool> lent(4);
  for (char c = 'a'; c < 'e'; ++c) {
    receiver.send(std::string(1, c));
    while (ring.ready() == 0) ASSERT_EQ(ring.enter(1, seconds(10)), 0);
    const Completion got = ring.peek(0);
    ring.advance(1);
    ASSERT_EQ(got.res, 1);
    const uint32_t buffer = got.flags >> IORING_CQE_BUFFER_SHIFT;
    ASSERT_LT(buffer, 4U);
    EXPECT_FALSE(lent[buffer]);
    lent[buffer] = true;
    EXPECT_EQ((*buffers)->data(buffer)[0], c);
  }
  receiver.send("e");
  while (ring.ready() == 0) ASSERT_EQ(ring.enter(1, seconds(10)), 0);
  EXPECT_EQ(ring.peek(0).res, -ENOBUFS);
}

TEST(BufferRing, goes_round_many_times) {
  OPEN_RING(ring, .sq_entries = 8, .cq_entries = 64);
  auto buffers = BufferRing::open(ring, 0, 2, 64);
  ASSERT_TRUE(buffers);
  ASSERT_TRUE(ring.start());
  Receiver receiver(ring, **buffers);
  // More often than its 16-bit tail can count.
  for (uint32_t i = 0; i < 70'000; ++i) {
    const char c = static_cast<char>('a' + i % 26);
    receiver.send(std::string(1, c));
    while (ring.ready() == 0) ASSERT_EQ(ring.enter(1, seconds(10)), 0);
    const Completion got = ring.peek(0);
    ring.advance(1);
    ASSERT_EQ(got.res, 1) << i;
    const uint32_t buffer = got.flags >> IORING_CQE_BUFFER_SHIFT;
    ASSERT_EQ((*buffers)->data(buffer)[0], c);
    (*buffers)->give(buffer);
    (*buffers)->publish();
    if ((got.flags & IORING_CQE_F_MORE) == 0) receiver.arm();
  }
}

}  // namespace
}  // namespace penstock
