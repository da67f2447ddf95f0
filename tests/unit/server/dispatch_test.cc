#include "src/server/pools/dispatch.h"

#include "src/server/pools/answer_copy.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

// 64 MiB for a client that always has a window's worth outstanding.
TEST(Dispatch, what_a_slow_client_took_is_not_kept) {
  constexpr size_t WINDOW = 256 * 1024;
  constexpr size_t PIECE = 48 * 1024;
  Dispatch d;
  size_t put = 0;
  size_t taken = 0;
  const auto letter = [](size_t at) { return static_cast<char>('a' + at / 1000 % 26); };
  while (taken < (size_t{16} << 20)) {
    while (d.pending_bytes() < WINDOW) d.pending += letter(put++);
    for (size_t i = 0; i < PIECE; i += 997) ASSERT_EQ(d.pending[d.pending_next + i], letter(taken + i));
    d.drop_pending(PIECE);
    taken += PIECE;
    ASSERT_LE(d.pending.size(), 3 * WINDOW);
  }
  EXPECT_LE(d.pending.capacity(), 4 * WINDOW);
  d.drop_pending(d.pending_bytes());
  EXPECT_EQ(d.pending_bytes(), 0U);
  EXPECT_TRUE(d.pending.empty());
}

}  // namespace
}  // namespace penstock
