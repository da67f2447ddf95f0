#include "src/files/suffix_index.h"

#include "src/base/coding.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

DirectoryVersion version(uint64_t inode, int64_t ctime_ns = 1) { return {.id = {7, inode}, .ctime_ns = ctime_ns}; }

TEST(SuffixIndex, asks_for_one_scan_of_a_version) {
  SuffixIndex index;
  EXPECT_TRUE(index.ask(version(1)).scan);
  EXPECT_FALSE(index.ask(version(1)).scan) << "one is under way";
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(index.ask(version(1)).scan);
}

TEST(SuffixIndex, thinks_everything_possible_until_it_has_learnt) {
  SuffixIndex index;
  EXPECT_TRUE(index.ask(version(1)).scan);
  EXPECT_EQ(index.ask(version(1)).possible, SuffixIndex::ALL);
  index.learn(version(1), ACCEPT_BR);
  EXPECT_EQ(index.ask(version(1)).possible, ACCEPT_BR);
  EXPECT_FALSE(index.ask(version(1)).scan);
}

TEST(SuffixIndex, forgets_what_it_knew_of_another_version) {
  SuffixIndex index;
  (void)index.ask(version(1, 100));
  index.learn(version(1, 100), 0);
  ASSERT_EQ(index.ask(version(1, 100)).possible, 0);
  const SuffixIndex::Answer answer = index.ask(version(1, 101));
  EXPECT_EQ(answer.possible, SuffixIndex::ALL);
  EXPECT_TRUE(answer.scan);
  EXPECT_EQ(index.ask(version(1, 100)).possible, SuffixIndex::ALL) << "a clock that was set back";
}

TEST(SuffixIndex, does_not_learn_of_a_version_that_has_moved_on) {
  SuffixIndex index;
  (void)index.ask(version(1, 100));
  (void)index.ask(version(1, 101));
  index.learn(version(1, 100), 0);
  EXPECT_EQ(index.ask(version(1, 101)).possible, SuffixIndex::ALL);
}

TEST(SuffixIndex, keeps_directories_and_file_systems_apart) {
  SuffixIndex index;
  constexpr uint64_t MANY = 100'000;
  for (uint64_t inode = 1; inode <= MANY; ++inode) {
    (void)index.ask(version(inode));
    index.learn(version(inode), 0);
  }
  EXPECT_EQ(index.ask(version(MANY)).possible, 0) << "the newest stays";
  EXPECT_EQ(index.ask({.id = {8, MANY}, .ctime_ns = 1}).possible, SuffixIndex::ALL);
}

}  // namespace
}  // namespace penstock
