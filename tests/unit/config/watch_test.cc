#include "src/config/watch.h"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

namespace penstock {
namespace {

namespace fs = std::filesystem;

// inotify queues its events before the call that causes them returns: nothing here waits.
class ConfigWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/penstock-watch-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    top_ = path;
    directory_ = top_ + "/etc";
    ASSERT_TRUE(fs::create_directory(directory_));
    file_ = directory_ + "/penstock.conf";
  }
  void TearDown() override { fs::remove_all(top_); }

  static UniqueFd open_for_writing(const std::string& path, int flags = O_TRUNC) {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644));
    EXPECT_TRUE(fd.valid()) << path;
    return fd;
  }
  static void write_file(const std::string& path, std::string_view text) {
    const UniqueFd fd = open_for_writing(path);
    EXPECT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  static bool readable(const ConfigWatch& watch) {
    pollfd one{watch.fd(), POLLIN, 0};
    return ::poll(&one, 1, 0) == 1;
  }
  static bool changed(ConfigWatch& watch) {
    auto result = watch.changed();
    EXPECT_TRUE(result.has_value()) << result.error().message;
    EXPECT_FALSE(readable(watch)) << "changed() must drain";
    return result.value_or(false);
  }
  ConfigWatch watch_file() {
    auto watch = ConfigWatch::open(file_);
    EXPECT_TRUE(watch.has_value()) << watch.error().message;
    return std::move(*watch);
  }

  std::string top_;
  std::string directory_;
  std::string file_;
};

TEST_F(ConfigWatchTest, says_nothing_while_nothing_happens) {
  write_file(file_, "a");
  ConfigWatch watch = watch_file();
  EXPECT_FALSE(readable(watch));
  EXPECT_FALSE(changed(watch));
}

TEST_F(ConfigWatchTest, a_file_written_in_place_counts_when_it_is_closed) {
  write_file(file_, "a");
  ConfigWatch watch = watch_file();
  {
    const UniqueFd fd = open_for_writing(file_);
    EXPECT_EQ(::write(fd.get(), "b", 1), 1);
    EXPECT_FALSE(changed(watch)) << "half of it may be written";
  }
  EXPECT_TRUE(readable(watch));
  EXPECT_TRUE(changed(watch));
  EXPECT_FALSE(changed(watch));
}

TEST_F(ConfigWatchTest, a_file_that_is_being_written_again_is_left_until_it_is_closed) {
  write_file(file_, "a");
  ConfigWatch watch = watch_file();
  UniqueFd hold;
  write_file(file_, "b");
  {
    const UniqueFd next = open_for_writing(file_);
    EXPECT_TRUE(changed(watch)) << "it was closed once";
    EXPECT_FALSE(watch.hold_still(hold)) << "but is empty now";
  }
  EXPECT_TRUE(changed(watch));
  EXPECT_TRUE(watch.hold_still(hold));
}

TEST_F(ConfigWatchTest, who_would_write_waits_while_the_file_is_held) {
  write_file(file_, "a");
  const ConfigWatch watch = watch_file();
  UniqueFd hold;
  ASSERT_TRUE(watch.hold_still(hold));
  UniqueFd writer(::open(file_.c_str(), O_WRONLY | O_TRUNC | O_NONBLOCK | O_CLOEXEC));
  EXPECT_FALSE(writer.valid());
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(fs::file_size(file_), 1U);
  hold.reset();
  writer.reset(::open(file_.c_str(), O_WRONLY | O_TRUNC | O_NONBLOCK | O_CLOEXEC));
  EXPECT_TRUE(writer.valid());
}

TEST_F(ConfigWatchTest, a_rename_over_the_file_counts_again_and_again) {
  write_file(file_, "a");
  ConfigWatch watch = watch_file();
  for (int i = 0; i < 3; ++i) {
    write_file(file_ + ".tmp", "b");
    EXPECT_FALSE(changed(watch)) << "another file of the directory";
    fs::rename(file_ + ".tmp", file_);
    EXPECT_TRUE(changed(watch));
  }
  write_file(file_, "c");
  EXPECT_TRUE(changed(watch)) << "the new file is watched too";
}

TEST_F(ConfigWatchTest, a_backup_writing_editor_counts_when_the_new_file_is_closed) {
  write_file(file_, "a");
  ConfigWatch watch = watch_file();
  fs::rename(file_, file_ + "~");
  EXPECT_FALSE(changed(watch));
  {
    const UniqueFd fd = open_for_writing(file_, O_EXCL);
    EXPECT_FALSE(changed(watch)) << "it is empty still";
    EXPECT_EQ(::write(fd.get(), "b", 1), 1);
    EXPECT_FALSE(changed(watch));
  }
  EXPECT_TRUE(changed(watch));
}

TEST_F(ConfigWatchTest, deleting_the_file_is_no_change_and_its_return_is_one) {
  write_file(file_, "a");
  ConfigWatch watch = watch_file();
  fs::remove(file_);
  EXPECT_FALSE(changed(watch));
  write_file(file_, "b");
  EXPECT_TRUE(changed(watch));
}

TEST_F(ConfigWatchTest, the_file_need_not_be_there_yet) {
  ConfigWatch watch = watch_file();
  write_file(file_, "a");
  EXPECT_TRUE(changed(watch));
}

TEST_F(ConfigWatchTest, a_hard_link_into_place_counts) {
  write_file(top_ + "/new", "b");
  ConfigWatch watch = watch_file();
  fs::create_hard_link(top_ + "/new", file_);
  EXPECT_TRUE(changed(watch));
}

TEST_F(ConfigWatchTest, other_files_and_reading_do_not_count) {
  write_file(file_, "a");
  ConfigWatch watch = watch_file();
  write_file(directory_ + "/other", "b");
  const UniqueFd reader(::open(file_.c_str(), O_RDONLY | O_CLOEXEC));
  char byte;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
  fs::permissions(file_, fs::perms::owner_all);
  EXPECT_FALSE(changed(watch));
}

TEST_F(ConfigWatchTest, the_target_of_a_link_is_watched_in_its_own_directory) {
  fs::create_directory(top_ + "/store");
  write_file(top_ + "/store/real.conf", "a");
  fs::create_symlink(top_ + "/store/real.conf", file_);
  ConfigWatch watch = watch_file();
  write_file(top_ + "/store/real.conf", "b");
  EXPECT_TRUE(changed(watch));
  write_file(top_ + "/store/other.conf", "b");
  EXPECT_FALSE(changed(watch));
  fs::remove(top_ + "/store/real.conf");
  EXPECT_FALSE(changed(watch));
}

TEST_F(ConfigWatchTest, a_swapped_link_on_the_way_counts_as_mounted_volumes_do_it) {
  // conf -> ..data/penstock.conf, ..data -> v1; an update makes v2 and renames a new ..data over the old.
  for (const std::string version : {"v1", "v2"}) {
    fs::create_directory(directory_ + "/" + version);
    write_file(directory_ + "/" + version + "/penstock.conf", version);
  }
  fs::create_directory_symlink("v1", directory_ + "/..data");
  fs::create_symlink("..data/penstock.conf", file_);
  ConfigWatch watch = watch_file();
  const int fd = watch.fd();
  fs::create_directory_symlink("v2", directory_ + "/..tmp");
  EXPECT_FALSE(changed(watch));
  fs::rename(directory_ + "/..tmp", directory_ + "/..data");
  EXPECT_TRUE(changed(watch));
  write_file(directory_ + "/v2/penstock.conf", "b");
  EXPECT_TRUE(changed(watch)) << "the new target is watched";
  write_file(directory_ + "/v1/penstock.conf", "b");
  EXPECT_FALSE(changed(watch)) << "the old one is not";
  EXPECT_EQ(watch.fd(), fd) << "a poller may keep the descriptor";
}

TEST_F(ConfigWatchTest, a_lost_directory_is_an_error_until_rearmed) {
  write_file(file_, "a");
  ConfigWatch watch = watch_file();
  fs::rename(directory_, directory_ + ".old");
  EXPECT_FALSE(watch.changed().has_value());
  write_file(directory_ + ".old/penstock.conf", "b");
  EXPECT_FALSE(changed(watch)) << "it is not ours any more";
  EXPECT_FALSE(watch.rearm().has_value());
  fs::create_directory(directory_);
  ASSERT_TRUE(watch.rearm().has_value());
  write_file(file_, "c");
  EXPECT_TRUE(changed(watch));
}

TEST_F(ConfigWatchTest, a_directory_replaced_at_once_is_followed) {
  write_file(file_, "a");
  ConfigWatch watch = watch_file();
  fs::create_directory(top_ + "/next");
  write_file(top_ + "/next/penstock.conf", "b");
  fs::rename(directory_, directory_ + ".old");
  fs::rename(top_ + "/next", directory_);
  EXPECT_TRUE(changed(watch));
  write_file(file_, "c");
  EXPECT_TRUE(changed(watch));
}

TEST_F(ConfigWatchTest, a_path_without_directory_cannot_be_watched) {
  EXPECT_FALSE(ConfigWatch::open(top_ + "/none/penstock.conf").has_value());
  EXPECT_FALSE(ConfigWatch::open(directory_ + "/").has_value());
}

}  // namespace
}  // namespace penstock
