#include "cache/arena.h"

#include "src/base/prng.h"

#include <cstring>
#include <gtest/gtest.h>
#include <vector>

namespace penstock::cache_test {
namespace {

struct Block {
  char* memory;
  size_t bytes;
  char mark;
};

bool intact(const Block& block) {
  return block.memory[0] == block.mark && block.memory[block.bytes / 2] == block.mark &&
         block.memory[block.bytes - 1] == block.mark;
}

TEST(Arena, charges_at_most_an_eighth_more_for_small_objects_and_pages_for_large_ones) {
  for (size_t bytes = 513; bytes <= 16 * 1024; ++bytes) {
    ASSERT_GE(Arena::charge(bytes), bytes);
    ASSERT_LE(Arena::charge(bytes), bytes + bytes / 8 + 1);
  }
  for (size_t bytes = 1; bytes <= 512; ++bytes) ASSERT_EQ(Arena::charge(bytes), (bytes + 63) / 64 * 64);
  EXPECT_EQ(Arena::charge(16 * 1024 + 1), 20u * 1024);
  EXPECT_EQ(Arena::charge(3'000'000), 3'002'368u);
}

// Against itself: every block keeps what was written into it, whatever is done to the others.
TEST(Arena, lends_disjoint_aligned_memory_of_every_size) {
  Arena arena;
  Prng prng(1);
  std::vector<Block> blocks;
  uint64_t charged = 0;
  for (int step = 0; step < 60'000; ++step) {
    if (blocks.size() > 2000 || (!blocks.empty() && prng.one_in(3))) {
      const size_t pick = prng.below(static_cast<uint32_t>(blocks.size()));
      const Block block = blocks[pick];
      ASSERT_TRUE(intact(block));
      arena.free(block.memory, block.bytes);
      charged -= Arena::charge(block.bytes);
      blocks[pick] = blocks.back();
      blocks.pop_back();
    } else {
      const size_t bytes = 1 + prng.below(prng.one_in(200) ? 1'500'000 : prng.one_in(10) ? 100'000 : 3'000);
      Block block{static_cast<char*>(arena.allocate(bytes)), bytes, static_cast<char>(step)};
      ASSERT_NE(block.memory, nullptr);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(block.memory) % 64, 0u);
      block.memory[0] = block.memory[bytes / 2] = block.memory[bytes - 1] = block.mark;
      blocks.push_back(block);
      charged += Arena::charge(bytes);
    }
    ASSERT_EQ(arena.live(), charged);
    ASSERT_GE(arena.committed(), arena.live());
  }
  for (const Block& block : blocks) arena.free(block.memory, block.bytes);
  EXPECT_EQ(arena.live(), 0u);
  EXPECT_LE(arena.committed(), 6u << 20) << "free pages are given back";
}

TEST(Arena, keeps_no_more_free_pages_than_it_needs_for_reuse) {
  Arena arena;
  std::vector<void*> blocks;
  for (int i = 0; i < 2000; ++i) blocks.push_back(arena.allocate(40'000));
  EXPECT_LE(arena.overhead(), 2u << 20);
  for (size_t i = 0; i < blocks.size(); i += 2) arena.free(blocks[i], 40'000);
  EXPECT_LE(arena.overhead(), 6u << 20) << "gaps of whole pages are no overhead";
  for (size_t i = 0; i < blocks.size(); i += 2) blocks[i] = arena.allocate(60'000);
  EXPECT_LE(arena.overhead(), 6u << 20) << "nor when nothing fits them";
  for (size_t i = 0; i < blocks.size(); ++i) arena.free(blocks[i], i % 2 == 0 ? 60'000 : 40'000);
}

TEST(Arena, evacuation_frees_sparse_slabs) {
  Arena arena;
  std::vector<void*> blocks;
  constexpr size_t BYTES = 1000;
  for (int i = 0; i < 20'000; ++i) blocks.push_back(arena.allocate(BYTES));
  EXPECT_FALSE(arena.begin_evacuation()) << "all slabs are full";
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i % 8 != 0) arena.free(blocks[i], BYTES);
  }
  const uint64_t sparse = arena.overhead();
  ASSERT_GT(sparse, 15u << 20);
  ASSERT_TRUE(arena.begin_evacuation());
  for (size_t i = 0; i < blocks.size(); i += 8) {
    if (!arena.evacuating(blocks[i], BYTES)) continue;
    void* moved = arena.allocate(BYTES);
    ASSERT_FALSE(arena.evacuating(moved, BYTES));
    arena.free(blocks[i], BYTES);
    blocks[i] = moved;
  }
  arena.end_evacuation();
  EXPECT_LT(arena.overhead(), 6u << 20);
  EXPECT_FALSE(arena.begin_evacuation());
  arena.end_evacuation();
  for (size_t i = 0; i < blocks.size(); i += 8) arena.free(blocks[i], BYTES);
  EXPECT_EQ(arena.live(), 0u);
}

TEST(Arena, what_stayed_in_an_evacuated_slab_is_used_again_afterwards) {
  Arena arena;
  std::vector<void*> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(arena.allocate(5000));
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i % 4 != 0) arena.free(blocks[i], 5000);
  }
  ASSERT_TRUE(arena.begin_evacuation());
  arena.end_evacuation();
  const uint64_t committed = arena.committed();
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i % 4 != 0) blocks[i] = arena.allocate(5000);
  }
  EXPECT_EQ(arena.committed(), committed);
  for (void* block : blocks) arena.free(block, 5000);
}

TEST(Arena, refuses_what_cannot_be) {
  Arena arena;
  EXPECT_EQ(arena.allocate(SIZE_MAX), nullptr);
  EXPECT_EQ(arena.allocate(SIZE_MAX / 2), nullptr);
  EXPECT_EQ(arena.live(), 0u);
}

}  // namespace
}  // namespace penstock::cache_test
