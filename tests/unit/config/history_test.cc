#include "src/config/history.h"

#include "tests/unit/config/build_tree.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

using test::changes;
using test::tree_of;

Tree next(const Tree& tree, const std::string& change) {
  auto made = tree.apply(changes({change}));
  EXPECT_TRUE(made.has_value());
  return made ? std::move(*made) : Tree();
}

TEST(ConfigHistory, remembers_who_changed_what_when) {
  const Tree first = tree_of("cache.size = 1m\n");
  const Tree second = next(first, "cache.size=2m");
  ConfigHistory history;
  history.commit(Tree(), first, WallTime{10}, "start");
  history.commit(first, second, WallTime{20}, "uid 0");
  ASSERT_EQ(history.records().size(), 2U);
  const GenerationRecord* record = history.find(2);
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->who, "uid 0");
  EXPECT_EQ(record->when, WallTime{20});
  EXPECT_EQ(record->changes, (std::vector<TreeChange>{{"cache.size", "1m", "2m"}}));
  EXPECT_EQ(history.find(3), nullptr);
}

TEST(ConfigHistory, keeps_a_bounded_number_of_records_and_changes) {
  ConfigHistory history;
  Tree tree = tree_of("");
  for (size_t i = 0; i < ConfigHistory::RECORDS_MAX + 5; ++i) {
    Tree after = next(tree, "limits.fields=" + std::to_string(i % 128 + 1));
    history.commit(tree, after, WallTime{}, "w");
    tree = std::move(after);
  }
  EXPECT_EQ(history.records().size(), ConfigHistory::RECORDS_MAX);
  EXPECT_EQ(history.records().front().generation, 7U);
  std::string text;
  for (size_t i = 0; i < ConfigHistory::CHANGES_MAX + 3; ++i) text += "mime.e" + std::to_string(i) + " = a/b\n";
  const auto many = tree.replace(parse_text(text, "f").assignments);
  ASSERT_TRUE(many.has_value());
  history.commit(tree, many->tree, WallTime{}, "file");
  EXPECT_EQ(history.records().back().changes.size(), ConfigHistory::CHANGES_MAX);
  EXPECT_EQ(history.records().back().changes_left_out, 4U);  // and limits.fields back at its default
}

}  // namespace
}  // namespace penstock
