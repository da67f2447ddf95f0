// Trees for tests: from text that must be right, and the errors of text that must be wrong.
#pragma once

#include "src/config/tree.h"

#include <gtest/gtest.h>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::test {

inline Tree tree_of(std::string_view text) {
  auto tree = Tree::from_text(text, "t.conf");
  EXPECT_TRUE(tree.has_value()) << text << "\n" << (tree ? std::string() : to_text(tree.error()));
  return tree ? std::move(*tree) : Tree();
}

inline std::string errors_of(std::string_view text) {
  const auto tree = Tree::from_text(text, "t.conf");
  EXPECT_FALSE(tree.has_value()) << text;
  return tree ? std::string() : to_text(tree.error());
}

// "KEY=VALUE" as from a command line.
inline std::vector<Assignment> changes(const std::vector<std::string>& texts, std::string_view source = "-w") {
  std::vector<Assignment> out;
  for (const std::string& text : texts) {
    auto assignment = parse_assignment(text, source);
    EXPECT_TRUE(assignment.has_value()) << text;
    if (assignment) out.push_back(std::move(*assignment));
  }
  return out;
}

}  // namespace penstock::test
