#include "cache/admission.h"

#include "src/base/hash.h"
#include "tests/support/effort.h"
#include "tests/unit/cache/world.h"

#include <gtest/gtest.h>

namespace penstock::cache_test {
namespace {

constexpr MonoTime START{seconds(5000).ns};

TEST(Admission, admits_at_the_second_request_within_the_window) {
  Admission admission;
  EXPECT_FALSE(admission.miss(42ULL << 40, START).admitted);
  EXPECT_EQ(admission.peek(42ULL << 40, START).seen, 2u);
  const Admission::Answer second = admission.miss(42ULL << 40, START + seconds(9));
  EXPECT_TRUE(second.admitted);
  EXPECT_EQ(second.seen, 2u);
  EXPECT_FALSE(admission.miss(43ULL << 40, START + seconds(9)).admitted) << "another key";
}

TEST(Admission, forgets_after_the_window_and_counts_anew) {
  Admission admission;
  (void)admission.miss(7ULL << 40, START);
  const Admission::Answer late = admission.miss(7ULL << 40, START + seconds(11));
  EXPECT_FALSE(late.admitted);
  EXPECT_EQ(late.seen, 1u);
  EXPECT_TRUE(admission.miss(7ULL << 40, START + seconds(12)).admitted);
}

TEST(Admission, follows_its_policy) {
  Admission admission;
  admission.set_policy({.hits = 0});
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(admission.miss(1, START).admitted);
  admission.set_policy({.hits = 1});
  EXPECT_TRUE(admission.miss(2, START).admitted);
  EXPECT_TRUE(admission.peek(3, START).admitted);
  admission.set_policy({.hits = 4, .window = seconds(1)});
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(admission.miss(9ULL << 40, START).admitted);
  EXPECT_TRUE(admission.miss(9ULL << 40, START).admitted);
  EXPECT_FALSE(admission.peek(9ULL << 40, START + seconds(2)).admitted);
}

TEST(Admission, under_a_flood_it_forgets_the_oldest_and_keeps_counting) {
  Admission admission(1024);
  for (uint64_t i = 1; i <= 100'000; ++i) (void)admission.miss(hash_word(i), START);
  const uint64_t key = hash_word(1'000'000);
  (void)admission.miss(key, START + seconds(1));
  EXPECT_TRUE(admission.miss(key, START + seconds(1)).admitted);
}

// FEATURES SC2: a million URLs asked for once each evict at most 1 % of a hot set of a thousand.
TEST(Admission, a_scan_leaves_the_hot_set_alone) {
  for (const bool admit_always : {false, true}) {
    World w({.bytes_max = 4 << 20});
    Admission admission;
    admission.set_policy({.hits = admit_always ? 1u : 2u});
    const auto request = [&](const std::string& target) {
      const bool hit = w.look(target) != nullptr;
      if (!hit && admission.miss(hash_of(target), w.now).admitted) w.put(target, std::string(1000, 'x'));
      w.turn();
      w.now = w.now + microseconds(20);
      return hit;
    };
    for (int round = 0; round < 4; ++round) {
      for (int i = 0; i < 1000; ++i) request("/hot/" + std::to_string(i));
    }
    // The scan, with a trickle of requests to the hot set: each is asked for once in 20,000 scanned.
    int asked = 0, hits = 0;
    const int scan = one_threaded_rounds(admit_always ? 100'000 : 1'000'000);
    for (int i = 0; i < scan; ++i) {
      request("/scan/" + std::to_string(i));
      if (i % 20 == 0) {
        ++asked;
        hits += request("/hot/" + std::to_string(i / 20 % 1000)) ? 1 : 0;
      }
    }
    EXPECT_GE(hits, asked * 99 / 100) << "admit always: " << admit_always;
    w.table->check_invariants();
  }
}

}  // namespace
}  // namespace penstock::cache_test
