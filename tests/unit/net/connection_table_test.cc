#include "src/net/connection_table.h"

#include "src/base/prng.h"

#include <gtest/gtest.h>
#include <map>
#include <vector>

namespace penstock {
namespace {

TEST(ConnectionTable, is_a_map_of_what_was_put_in_and_not_taken_out) {
  Prng prng(1);
  ConnectionTable table(1'000);
  std::map<uint32_t, uint64_t> model;
  for (int step = 0; step < 50'000; ++step) {
    const uint32_t index = prng.below(1'000);
    const auto known = model.find(index);
    if (known != model.end()) {
      EXPECT_EQ(table.find(known->second, [&](uint32_t i) { return i == index; }), index);
      table.erase(known->second, index);
      EXPECT_EQ(table.find(known->second, [&](uint32_t i) { return i == index; }), ConnectionTable::NONE);
      model.erase(known);
    } else {
      const uint64_t hash = prng.one_in(3) ? prng.below(4) : prng.next();  // many with the same home
      model[index] = hash;
      table.insert(hash, index);
    }
    ASSERT_EQ(table.count(), model.size());
  }
  for (const auto& [index, hash] : model) {
    EXPECT_EQ(table.find(hash, [i = index](uint32_t at) { return at == i; }), index);
  }
}

// Half full, a look-up begins at the right place for three of four, and whoever is in the way is told by his tag.
TEST(ConnectionTable, a_million_are_found_where_they_belong) {
  constexpr uint32_t COUNT = 1'000'000;
  Prng prng(2);
  std::vector<uint64_t> hashes(COUNT);
  ConnectionTable table(COUNT);
  for (uint32_t i = 0; i < COUNT; ++i) table.insert(hashes[i] = prng.next(), i);
  uint32_t at_home = 0;
  uint32_t compared = 0;
  for (uint32_t i = 0; i < COUNT; ++i) {
    at_home += table.guess(hashes[i]) == i;
    const auto same = [&](uint32_t at) { return ++compared, at == i; };
    ASSERT_EQ(table.find(hashes[i], same), i);
  }
  EXPECT_GT(at_home, COUNT / 10 * 7);
  EXPECT_LT(compared, COUNT / 1'000 * 1'001);
}

TEST(ConnectionTable, takes_as_many_as_it_was_made_for) {
  ConnectionTable table(3);
  for (uint32_t i = 0; i < 3; ++i) table.insert(7, i);
  EXPECT_EQ(table.count(), 3U);
  EXPECT_EQ(table.find(7, [](uint32_t i) { return i == 2; }), 2U);
}

}  // namespace
}  // namespace penstock
