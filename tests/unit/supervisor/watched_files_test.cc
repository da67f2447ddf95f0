#include "pool/supervisor/watched_files.h"

#include "tests/support/temp_dir.h"

#include <filesystem>
#include <gtest/gtest.h>

namespace penstock {
namespace {

class WatchedFilesTest : public testing::Test {
 protected:
  void watch(std::vector<std::string> patterns) {
    files_.watch(std::move(patterns), dir_.path());
    EXPECT_EQ(files_.look(), std::nullopt);
    EXPECT_EQ(files_.look(), std::nullopt);
  }
  // What is told once the state stays; "" for nothing. Not before: what is being written is not run.
  std::string told() {
    EXPECT_EQ(files_.look(), std::nullopt);
    const std::string name = files_.look().value_or("");
    EXPECT_EQ(files_.look(), std::nullopt) << "told twice";
    return name.empty() ? "" : name.substr(dir_.path().size() + 1);
  }
  TempDir dir_;
  WatchedFiles files_;
};

TEST_F(WatchedFilesTest, tells_a_relative_file_that_changed_came_or_went) {
  dir_.write("a", "1");
  watch({"a", "b"});
  dir_.write("a", "22");
  EXPECT_EQ(told(), "a");
  dir_.write("b", "1");
  EXPECT_EQ(told(), "b");
  std::filesystem::remove(dir_.at("a"));
  EXPECT_EQ(told(), "a");
  EXPECT_EQ(told(), "");
}

TEST_F(WatchedFilesTest, names_what_came_whatever_the_order_of_the_paths) {
  dir_.write("a", "1");
  watch({"z*", "a"});
  dir_.write("z", "1");
  EXPECT_EQ(told(), "z");
  std::filesystem::remove(dir_.at("z"));
  EXPECT_EQ(told(), "z");
}

TEST_F(WatchedFilesTest, a_directory_is_all_that_is_in_it) {
  std::filesystem::create_directories(dir_.at("lib/deep"));
  dir_.write("lib/deep/x.py", "1");
  dir_.write("other", "1");
  watch({"lib"});
  dir_.write("lib/deep/x.py", "22");
  EXPECT_EQ(told(), "lib/deep/x.py");
  dir_.write("lib/deep/y.py", "1");
  EXPECT_EQ(told(), "lib/deep/y.py");
  dir_.write("other", "22");
  EXPECT_EQ(told(), "");
}

TEST_F(WatchedFilesTest, a_pattern_is_what_fits_it) {
  dir_.write("a.py", "1");
  dir_.write("a.txt", "1");
  watch({"*.py"});
  dir_.write("a.txt", "22");
  EXPECT_EQ(told(), "");
  dir_.write("b.py", "1");
  EXPECT_EQ(told(), "b.py");
}

TEST_F(WatchedFilesTest, what_is_still_changing_is_not_told) {
  dir_.write("a", "1");
  watch({"a"});
  for (int i = 2; i < 6; ++i) {
    dir_.write("a", std::string(static_cast<size_t>(i), 'x'));
    EXPECT_EQ(files_.look(), std::nullopt);
  }
  EXPECT_EQ(files_.look(), dir_.at("a")) << "the second look at this state";
  EXPECT_EQ(told(), "");
}

TEST_F(WatchedFilesTest, links_in_a_directory_lead_nowhere) {
  std::filesystem::create_directory(dir_.at("lib"));
  std::filesystem::create_directory_symlink(dir_.path(), dir_.at("lib/round"));
  dir_.write("outside", "1");
  watch({"lib"});
  dir_.write("outside", "22");
  EXPECT_EQ(told(), "");
}

TEST_F(WatchedFilesTest, more_than_it_takes_is_said) {
  std::filesystem::create_directory(dir_.at("many"));
  for (size_t i = 0; i <= WatchedFiles::FILES_MAX; ++i) {
    const UniqueFd made(::open(dir_.at("many/" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  }
  watch({"many"});
  EXPECT_FALSE(files_.too_many()) << "a directory gives no more";
  dir_.write("one", "1");
  watch({"many", "one"});
  EXPECT_TRUE(files_.too_many());
}

TEST_F(WatchedFilesTest, relative_ones_without_a_directory_are_none) {
  files_.watch({"a"}, "");
  EXPECT_TRUE(files_.empty());
}

}  // namespace
}  // namespace penstock
