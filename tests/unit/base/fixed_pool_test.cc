#include "src/base/fixed_pool.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(FixedPool, answers_nullptr_at_its_limit_and_recovers) {
  FixedPool<int> pool(2);
  int* a = pool.take(1);
  int* b = pool.take(2);
  EXPECT_EQ(pool.take(3), nullptr);
  pool.give(a);
  EXPECT_EQ(pool.count(), 1u);
  int* c = pool.take(4);
  ASSERT_NE(c, nullptr);
  EXPECT_EQ(*c, 4);
  EXPECT_EQ(*b, 2);
}

TEST(FixedPool, a_stale_handle_finds_nothing) {
  FixedPool<int> pool(1);
  int* a = pool.take(1);
  const Handle old = pool.handle_of(a);
  EXPECT_EQ(pool.find(old), a);
  pool.give(a);
  EXPECT_EQ(pool.find(old), nullptr);
  int* b = pool.take(2);
  EXPECT_EQ(pool.find(old), nullptr);
  EXPECT_EQ(pool.find(pool.handle_of(b)), b);
  EXPECT_EQ(pool.find(Handle{}), nullptr);
}

TEST(FixedPool, destroys_what_is_still_lent_out) {
  static int alive;
  alive = 0;
  struct Counted {
    Counted() { ++alive; }
    ~Counted() { --alive; }
  };
  {
    FixedPool<Counted> pool(4);
    Counted* first = pool.take();
    ASSERT_NE(pool.take(), nullptr);
    pool.give(first);
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace penstock
