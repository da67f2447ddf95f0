// One suite for every FileReader on a real directory: as it is, and with the short cut through memory
// switched off, so that the late way is the one tested.
#include "src/base/coding.h"
#include "src/files/thread_file_reader.h"
#include "tests/support/temp_dir.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <vector>

namespace penstock {
namespace {

class FileReading : public testing::TestWithParam<bool> {
 protected:
  FileReading() { worker.start(2); }
  [[nodiscard]] static bool late() { return GetParam(); }

  RootDir root() const { return {dir.fd(), dir.path().c_str()}; }

  // The completion of one operation; waits on the reader's own descriptor.
  FileCompletion carry_out(const FileOp& op) {
    EXPECT_TRUE(reader->submit(op, 42));
    return wait(1)[42];
  }
  std::map<uint64_t, FileCompletion> wait(size_t count) {
    std::map<uint64_t, FileCompletion> done;
    while (done.size() < count) {
      FileCompletion batch[8];
      const size_t n = reader->poll(batch);
      for (size_t i = 0; i < n; ++i) done[batch[i].token] = batch[i];
      if (n > 0) continue;
      pollfd wake{.fd = reader->wake_fd(), .events = POLLIN, .revents = 0};
      EXPECT_EQ(::poll(&wake, 1, 10'000), 1) << "nothing wakes the reactor";
      uint64_t ticks = 0;
      (void)!::read(wake.fd, &ticks, sizeof ticks);
    }
    return done;
  }
  FileCompletion open(const char* path, SymlinkPolicy symlinks = SymlinkPolicy::ALL) {
    return carry_out({.kind = FileOpKind::OPEN, .symlinks = symlinks, .root = root(), .path = path});
  }

  TempDir dir;
  FileWorker worker;
  std::unique_ptr<FileReader> reader = std::make_unique<ThreadFileReader>(worker, !late());
};

TEST_P(FileReading, opens_reads_and_closes) {
  const std::string bytes(200'000, 'r');
  dir.write("f", bytes);
  const FileCompletion opened = open("f");
  ASSERT_GE(opened.result, 0);
  EXPECT_EQ(opened.info.size, bytes.size());
  EXPECT_EQ(opened.info.type, FileType::REGULAR);
  const int fd = static_cast<int>(opened.result);
  std::string read(bytes.size() + 10, '\0');
  size_t filled = 0;
  for (;;) {
    const FileCompletion part = carry_out(
        {.kind = FileOpKind::READ, .fd = fd, .offset = filled, .into = {read.data() + filled, read.size() - filled}});
    ASSERT_GE(part.result, 0);
    if (part.result == 0) break;
    filled += static_cast<size_t>(part.result);
  }
  read.resize(filled);
  EXPECT_EQ(read, bytes);
  FileInfo info;
  EXPECT_EQ(reader->stat(fd, info), 0);
  EXPECT_TRUE(same_version(info, opened.info));
  reader->close(fd);
  EXPECT_EQ(reader->stat(fd, info), EBADF);
}

TEST_P(FileReading, tells_errors_apart) {
  dir.write("f", "x");
  dir.make_dir("d");
  dir.link_to("f", "link");
  dir.link_to("../up", "escape");
  ASSERT_EQ(::mkfifo(dir.at("pipe").c_str(), 0644), 0);
  EXPECT_EQ(open("none").result, -ENOENT);
  EXPECT_EQ(open("f/x").result, -ENOTDIR);
  EXPECT_EQ(open("../up").result, -EXDEV);
  EXPECT_EQ(open("escape").result, -EXDEV);
  EXPECT_EQ(open("link", SymlinkPolicy::NONE).result, -ELOOP);
  EXPECT_EQ(open("pipe").result, -ENXIO);
  const FileCompletion d = open("d");
  ASSERT_GE(d.result, 0);
  EXPECT_EQ(d.info.type, FileType::DIRECTORY);
  char byte;
  EXPECT_EQ(carry_out({.kind = FileOpKind::READ, .fd = static_cast<int>(d.result), .into = {&byte, 1}}).result,
            -EISDIR);
  reader->close(static_cast<int>(d.result));
}

TEST_P(FileReading, follows_links_as_the_policy_allows) {
  dir.write("f", "target");
  dir.link_to("f", "link");
  const FileCompletion opened = open("link");
  ASSERT_GE(opened.result, 0);
  EXPECT_EQ(opened.info.size, 6U);
  reader->close(static_cast<int>(opened.result));
  EXPECT_EQ(reader->counters().links_walked, 1U);
}

TEST_P(FileReading, opens_the_root_itself) {
  const FileCompletion opened = open("");
  ASSERT_GE(opened.result, 0);
  EXPECT_EQ(opened.info.type, FileType::DIRECTORY);
  reader->close(static_cast<int>(opened.result));
}

TEST_P(FileReading, lists_what_can_be_served_and_nothing_else) {
  dir.make_dir("zdir");
  dir.write("b.txt", "bb");
  dir.write("a.txt", "a");
  dir.write(".hidden", "h");
  dir.link_to("b.txt", "link");
  dir.link_to("/etc/passwd", "escape");
  dir.link_to("nowhere", "dangling");
  ASSERT_EQ(::mkfifo(dir.at("pipe").c_str(), 0644), 0);
  const auto names = [&](SymlinkPolicy symlinks, bool dotfiles, uint32_t max) {
    DirectoryList list;
    list.reset(max, dotfiles);
    EXPECT_EQ(
        carry_out({.kind = FileOpKind::LIST, .symlinks = symlinks, .root = root(), .path = "", .list = &list}).result,
        0);
    std::string all;
    for (const auto& entry : list.entries()) all.append(list.name(entry)).append(entry.directory ? "/ " : " ");
    return all + (list.truncated() ? "..." : "");
  };
  EXPECT_EQ(names(SymlinkPolicy::ALL, false, 100), "zdir/ a.txt b.txt link ");
  EXPECT_EQ(names(SymlinkPolicy::NONE, true, 100), "zdir/ .hidden a.txt b.txt ");
  EXPECT_TRUE(names(SymlinkPolicy::ALL, false, 2).ends_with("..."));
  DirectoryList list;
  list.reset(10, false);
  EXPECT_EQ(carry_out({.kind = FileOpKind::LIST, .root = root(), .path = "a.txt", .list = &list}).result, -ENOTDIR);
}

TEST_P(FileReading, tells_of_the_directory_of_a_name) {
  dir.make_dir("d");
  dir.write("d/a.txt", "a");
  dir.link_to("d", "link");
  const auto told = [&](const char* path, bool wanted = true) {
    const FileCompletion opened = carry_out({.kind = FileOpKind::OPEN,
                                             .symlinks = SymlinkPolicy::ALL,
                                             .root = root(),
                                             .tell_directory = wanted,
                                             .path = path});
    if (opened.result >= 0) reader->close(static_cast<int>(opened.result));
    return opened;
  };
  FileInfo d;
  FileInfo top;
  ASSERT_EQ(read_file_info_at(dir.fd(), "d", d), 0);
  ASSERT_EQ(read_file_info(dir.fd(), top), 0);
  EXPECT_EQ(told("d/a.txt").directory, (DirectoryVersion{d.id, d.ctime_ns}));
  EXPECT_EQ(told("d/none").directory, (DirectoryVersion{d.id, d.ctime_ns})) << "whether the name is there or not";
  EXPECT_EQ(told("d").directory, (DirectoryVersion{top.id, top.ctime_ns}));
  EXPECT_EQ(told("d/a.txt", false).directory, DirectoryVersion{}) << "only where it is wanted";
  EXPECT_EQ(told("link/a.txt").directory, DirectoryVersion{}) << "not where a link leads there";
  EXPECT_GE(told("link/a.txt").result, 0);
  EXPECT_EQ(told("none/a.txt").directory, DirectoryVersion{});
  EXPECT_EQ(told("../a.txt").result, -EXDEV);
}

TEST_P(FileReading, reads_the_suffixes_of_a_directory) {
  const auto suffixes = [&](const char* path) {
    return carry_out({.kind = FileOpKind::SUFFIXES, .symlinks = SymlinkPolicy::ALL, .root = root(), .path = path});
  };
  dir.make_dir("none");
  dir.make_dir("some");
  dir.write("none/a.txt", "a");
  dir.write("none/gz", "no suffix");
  dir.write("none/a.gz.txt", "not at the end");
  dir.write("none/.br", "a name that is nothing but a suffix is nobody's sibling");
  dir.write("some/a.zst", "a");
  dir.write("some/B.GZ", "a file system may find it by another case");
  EXPECT_EQ(suffixes("none").result, 0);
  EXPECT_EQ(suffixes("some").result, ACCEPT_ZSTD | ACCEPT_GZIP);
  FileInfo some;
  ASSERT_EQ(read_file_info_at(dir.fd(), "some", some), 0);
  EXPECT_EQ(suffixes("some").directory, (DirectoryVersion{some.id, some.ctime_ns}));
  EXPECT_EQ(suffixes("").result, 0);
  EXPECT_EQ(suffixes("nowhere").result, -ENOENT);
  EXPECT_EQ(suffixes("none/a.txt").result, -ENOTDIR);
}

TEST_P(FileReading, keeps_many_operations_apart) {
  constexpr uint64_t COUNT = 100;
  std::vector<std::string> names;
  for (uint64_t i = 0; i < COUNT; ++i) {
    names.push_back("f" + std::to_string(i));
    dir.write(names.back(), std::string(i + 1, 'x'));
  }
  for (uint64_t i = 0; i < COUNT; ++i) {
    ASSERT_TRUE(reader->submit({.kind = FileOpKind::OPEN, .root = root(), .path = names[i].c_str()}, i));
  }
  auto done = wait(COUNT);
  for (uint64_t i = 0; i < COUNT; ++i) {
    ASSERT_GE(done[i].result, 0);
    EXPECT_EQ(done[i].info.size, i + 1);
    reader->close(static_cast<int>(done[i].result));
  }
}

TEST_P(FileReading, says_no_at_its_bound_and_takes_more_afterwards) {
  dir.write("f", "x");
  uint64_t taken = 0;
  while (taken < 5000 && reader->submit({.kind = FileOpKind::OPEN, .root = root(), .path = "f"}, taken)) ++taken;
  if (late()) {
    EXPECT_LT(taken, 5000U);
  }
  for (const auto& [token, completion] : wait(taken)) reader->close(static_cast<int>(completion.result));
  const FileCompletion opened = open("f");
  EXPECT_GE(opened.result, 0);
  reader->close(static_cast<int>(opened.result));
}

TEST_P(FileReading, waits_for_what_is_under_way_when_it_ends) {
  const std::string bytes(1 << 20, 'w');
  dir.write("f", bytes);
  const FileCompletion opened = open("f");
  ASSERT_GE(opened.result, 0);
  std::vector<std::string> into(16, std::string(bytes.size(), '\0'));
  for (size_t i = 0; i < into.size(); ++i) {
    ASSERT_TRUE(reader->submit(
        {.kind = FileOpKind::READ, .fd = static_cast<int>(opened.result), .into = {into[i].data(), into[i].size()}},
        i));
  }
  reader.reset();  // nobody writes into `into` after this
  into.clear();
  ::close(static_cast<int>(opened.result));
}

INSTANTIATE_TEST_SUITE_P(All, FileReading, testing::Bool(),
                         [](const auto& late) { return late.param ? "threads_late" : "threads"; });

}  // namespace
}  // namespace penstock
