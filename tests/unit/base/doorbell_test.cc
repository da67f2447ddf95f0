#include "src/base/doorbell.h"

#include <cerrno>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace penstock {
namespace {

bool readable(const UniqueFd& fd) {
  pollfd waits{.fd = fd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&waits, 1, 0) == 1;
}

// The name of what rang; 0: nothing did.
int rang(const UniqueFd& bed) {
  epoll_event event{};
  return ::epoll_wait(bed.get(), &event, 1, 0) == 1 ? event.data.fd : 0;
}

class Doorbell : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(hang_bell(bell_, {first_.get(), second_.get()})); }
  UniqueFd first_ = make_bed().value();
  UniqueFd second_ = make_bed().value();
  UniqueFd bell_ = make_bell().value();
};

TEST_F(Doorbell, rings_in_each_bed_until_it_is_waited_for) {
  EXPECT_FALSE(readable(first_));
  EXPECT_TRUE(ring_bell(bell_.get()));
  EXPECT_TRUE(readable(first_));
  EXPECT_EQ(rang(first_), -1);
  EXPECT_FALSE(readable(first_));
  EXPECT_EQ(rang(first_), 0);
  EXPECT_EQ(rang(second_), -1);
  EXPECT_TRUE(ring_bell(bell_.get()));  // a new edge, although nobody read
  EXPECT_EQ(rang(first_), -1);
}

TEST_F(Doorbell, is_told_from_another_in_the_same_bed) {
  const UniqueFd other = make_bell().value();
  ASSERT_TRUE(hang_bell(other, {first_.get()}, 77));
  EXPECT_TRUE(ring_bell(other.get()));
  EXPECT_EQ(rang(first_), 77);
  EXPECT_EQ(rang(second_), 0);
  EXPECT_TRUE(ring_bell(bell_.get()));
  empty_bed(first_.get());
  EXPECT_EQ(rang(first_), 0);
}

TEST_F(Doorbell, rings_through_a_loop_that_never_empties_the_bed) {
  const UniqueFd loop = make_bed().value();
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.fd = 5}};
  ASSERT_EQ(::epoll_ctl(loop.get(), EPOLL_CTL_ADD, first_.get(), &event), 0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(rang(loop), 0);
    EXPECT_TRUE(ring_bell(bell_.get()));
    EXPECT_EQ(rang(loop), 5);
  }
}

TEST_F(Doorbell, cannot_be_spoiled_from_the_bed) {
  ASSERT_EQ(::fcntl(first_.get(), F_SETFL, 0), 0);
  const uint64_t full = UINT64_MAX - 1;
  EXPECT_EQ(::write(first_.get(), &full, sizeof full), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_NE(::fcntl(bell_.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(Doorbell, never_waits_also_where_it_is_full) {
  const uint64_t full = UINT64_MAX - 1;
  ASSERT_EQ(::write(bell_.get(), &full, sizeof full), static_cast<ssize_t>(sizeof full));
  EXPECT_FALSE(ring_bell(bell_.get()));
  EXPECT_TRUE(readable(first_));
}

TEST_F(Doorbell, hangs_nowhere_once_it_is_closed) {
  EXPECT_TRUE(ring_bell(bell_.get()));
  bell_.reset();
  EXPECT_FALSE(readable(first_));
  UniqueFd next = make_bell().value();
  ASSERT_TRUE(hang_bell(next, {first_.get()}));
  EXPECT_TRUE(ring_bell(next.get()));
  EXPECT_EQ(rang(first_), -1);
}

}  // namespace
}  // namespace penstock
