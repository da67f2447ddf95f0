#include "src/files/path_walk.h"

#include "tests/support/temp_dir.h"

#include <atomic>
#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>

namespace penstock {
namespace {

class PathWalk : public testing::Test {
 protected:
  PathWalk() {
    outer.make_dir("www");
    outer.make_dir("www/a");
    outer.make_dir("www/a/b");
    outer.write("www/a/b/file.txt", "inside");
    outer.write("secret.txt", "outside");
    path = outer.at("www");
    fd.reset(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }

  // The content that `name` leads to; "" where it cannot be opened.
  std::string read(const char* name, SymlinkPolicy symlinks = SymlinkPolicy::ALL, bool cached_only = false) {
    FileInfo info;
    bool walked = false;
    const UniqueFd file(open_served({fd.get(), path.c_str()}, name, symlinks, cached_only, info, walked));
    if (!file.valid()) return {};
    char text[64];
    const ssize_t size = ::read(file.get(), text, sizeof text);
    return size < 0 ? "directory" : std::string(text, static_cast<size_t>(size));
  }
  int error(const char* name, SymlinkPolicy symlinks = SymlinkPolicy::ALL) {
    FileInfo info;
    bool walked = false;
    const int result = open_served({fd.get(), path.c_str()}, name, symlinks, false, info, walked);
    if (result >= 0) ::close(result);
    return result;
  }
  void link(const char* target, const char* name) { outer.link_to(target, std::string("www/") + name); }

  TempDir outer;
  std::string path;
  UniqueFd fd;
};

TEST_F(PathWalk, opens_files_and_directories_beneath_the_root) {
  EXPECT_EQ(read("a/b/file.txt", SymlinkPolicy::NONE), "inside");
  EXPECT_EQ(read("a/b", SymlinkPolicy::NONE), "directory");
  EXPECT_EQ(read("", SymlinkPolicy::NONE), "directory");
  EXPECT_EQ(error("a/none"), -ENOENT);
  EXPECT_EQ(error("a/b/file.txt/x"), -ENOTDIR);
}

TEST_F(PathWalk, never_climbs_above_the_root) {
  EXPECT_EQ(error("../secret.txt"), -EXDEV);
  EXPECT_EQ(error("a/../../secret.txt"), -EXDEV);
  EXPECT_EQ(error("/etc/passwd"), -EXDEV);
  link("../secret.txt", "up");
  link("a/b/../../../secret.txt", "up_by_detour");
  link("/etc/passwd", "absolute");
  link("up", "up_again");
  link("..", "parent");
  for (const char* name : {"up", "up_by_detour", "absolute", "up_again", "parent", "parent/secret.txt"}) {
    EXPECT_EQ(error(name), -EXDEV) << name;
    EXPECT_EQ(error(name, SymlinkPolicy::OWNER), -EXDEV) << name;
    EXPECT_EQ(error(name, SymlinkPolicy::NONE), -ELOOP) << name;
  }
}

TEST_F(PathWalk, follows_links_within_the_root_where_the_policy_says_all) {
  link("a/b/file.txt", "direct");
  link("a", "directory");
  link("../a/b/./file.txt", "a/relative");
  link("directory/b", "through");
  link("a/b/", "slash");
  link("a/..", "root");
  for (const char* name : {"direct", "directory/b/file.txt", "a/relative", "directory/relative", "through/file.txt",
                           "slash/file.txt", "root/a/b/file.txt", "root/root/direct"}) {
    EXPECT_EQ(read(name), "inside") << name;
    EXPECT_EQ(error(name, SymlinkPolicy::NONE), -ELOOP) << name;
  }
  EXPECT_EQ(read("root"), "directory");
}

TEST_F(PathWalk, takes_an_absolute_target_within_the_root_for_relative) {
  link((path + "/a/b/file.txt").c_str(), "absolute");
  link(path.c_str(), "root");
  link((path + "2/x").c_str(), "longer_name");
  EXPECT_EQ(read("absolute"), "inside");
  EXPECT_EQ(read("root/a/b/file.txt"), "inside");
  EXPECT_EQ(error("longer_name"), -EXDEV);
}

TEST_F(PathWalk, ends_loops_and_long_chains) {
  link("loop", "loop");
  link("second", "first");
  link("first", "second");
  link("grow/x", "grow");
  EXPECT_EQ(error("loop"), -ELOOP);
  EXPECT_EQ(error("first"), -ELOOP);
  EXPECT_EQ(error("grow"), -ELOOP);
  link("a/b/file.txt", "chain0");
  for (int i = 1; i <= 41; ++i) {
    link(("chain" + std::to_string(i - 1)).c_str(), ("chain" + std::to_string(i)).c_str());
  }
  EXPECT_EQ(read("chain39"), "inside");
  EXPECT_EQ(error("chain40"), -ELOOP);
}

TEST_F(PathWalk, follows_only_links_of_the_owner_of_their_target) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to make files of two owners";
  link("a/b/file.txt", "mine");
  link("a/b/file.txt", "theirs");
  link("a", "their_directory");
  link("theirs", "mine_to_theirs");
  link("a/b/..", "their_dots");
  for (const char* name : {"theirs", "their_directory", "their_dots"}) {
    ASSERT_EQ(::lchown(outer.at(std::string("www/") + name).c_str(), 12345, 12345), 0);
  }
  EXPECT_EQ(read("mine", SymlinkPolicy::OWNER), "inside");
  EXPECT_EQ(error("theirs", SymlinkPolicy::OWNER), -ELOOP);
  EXPECT_EQ(error("their_directory/b/file.txt", SymlinkPolicy::OWNER), -ELOOP);
  EXPECT_EQ(error("mine_to_theirs", SymlinkPolicy::OWNER), -ELOOP);
  EXPECT_EQ(error("their_dots", SymlinkPolicy::OWNER), -ELOOP);
  EXPECT_EQ(error("their_dots/b/file.txt", SymlinkPolicy::OWNER), -ELOOP);
  // It is what the link names that counts, not what is found behind it.
  link("a/.", "their_dot");
  link(path.c_str(), "their_root");
  for (const char* name : {"www/their_dot", "www/their_root", "www/a/b"}) {
    ASSERT_EQ(::lchown(outer.at(name).c_str(), 12345, 12345), 0);
  }
  outer.make_dir("www/b");
  ASSERT_EQ(::chown(outer.at("www/b").c_str(), 12345, 12345), 0);
  EXPECT_EQ(error("their_dot/b", SymlinkPolicy::OWNER), -ELOOP);
  EXPECT_EQ(error("their_dots/b", SymlinkPolicy::OWNER), -ELOOP);
  EXPECT_EQ(error("their_root/b", SymlinkPolicy::OWNER), -ELOOP);
  // The same owner on both ends is fine whoever it is.
  ASSERT_EQ(::chown(outer.at("www/a/b/file.txt").c_str(), 12345, 12345), 0);
  EXPECT_EQ(read("theirs", SymlinkPolicy::OWNER), "inside");
  EXPECT_EQ(error("mine", SymlinkPolicy::OWNER), -ELOOP);
}

TEST_F(PathWalk, neither_blocks_on_nor_serves_what_is_no_file) {
  ASSERT_EQ(::mkfifo(outer.at("www/pipe").c_str(), 0644), 0);
  link("pipe", "link_to_pipe");
  const UniqueFd server(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = outer.at("www/socket");
  ASSERT_LT(name.size(), sizeof address.sun_path);
  name.copy(address.sun_path, name.size());
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(error("pipe"), -ENXIO);
  EXPECT_EQ(error("link_to_pipe"), -ENXIO);
  EXPECT_EQ(error("socket"), -ENXIO);
}

TEST_F(PathWalk, refuses_magic_links) {
  path = "/proc/self";
  fd.reset(::open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) GTEST_SKIP() << "no /proc here";
  for (const char* name : {"exe", "cwd/x", "root/etc/passwd", "fd/0", "ns/net"}) {
    EXPECT_LT(error(name), 0) << name;
    EXPECT_LT(error(name, SymlinkPolicy::NONE), 0) << name;
  }
}

TEST_F(PathWalk, a_directory_swapped_for_a_link_never_leads_outside) {
  // Root of the attack: between looking at a component and entering it, it becomes a link.
  outer.make_dir("evil");
  outer.write("evil/file.txt", "outside");
  outer.link_to("../evil", "www/link");
  outer.make_dir("www/swap");
  outer.write("www/swap/file.txt", "inside");
  std::atomic<bool> stop{false};
  std::thread swapper([&] {
    while (!stop) {
      ASSERT_EQ(
          ::renameat2(AT_FDCWD, outer.at("www/swap").c_str(), AT_FDCWD, outer.at("www/link").c_str(), RENAME_EXCHANGE),
          0);
    }
  });
  int inside = 0;
  for (int i = 0; i < 20'000; ++i) {
    FileInfo info;
    bool walked = false;
    const UniqueFd file(
        open_served({fd.get(), path.c_str()}, "swap/file.txt", SymlinkPolicy::ALL, false, info, walked));
    if (!file.valid()) continue;
    char text[16];
    const ssize_t size = ::read(file.get(), text, sizeof text);
    ASSERT_EQ(std::string_view(text, static_cast<size_t>(size)), "inside");
    ++inside;
  }
  stop = true;
  swapper.join();
  EXPECT_GT(inside, 0);
}

TEST_F(PathWalk, answers_from_the_dentry_cache_alone_when_asked_to) {
  link("a/b/file.txt", "direct");
  EXPECT_EQ(read("direct"), "inside");
  EXPECT_EQ(read("direct", SymlinkPolicy::ALL, /*cached_only=*/true), "inside");
  EXPECT_EQ(read("a/b/file.txt", SymlinkPolicy::NONE, /*cached_only=*/true), "inside");
}

TEST_F(PathWalk, tells_a_visitor_every_name_before_it_is_looked_up) {
  struct Recorder final : WalkVisitor {
    int before_lookup(int, std::string_view name) override {
      names += std::string(name) + " ";
      return name == "forbidden" ? EPERM : 0;
    }
    int reached(int, const char* name, int) override {
      names += std::string("=") + name;
      return 0;
    }
    std::string names;
  };
  link("a/../a/b", "hop");
  Recorder recorder;
  const UniqueFd file(
      walk_beneath({fd.get(), path.c_str()}, "hop/file.txt", {.symlinks = SymlinkPolicy::ALL, .visitor = &recorder}));
  EXPECT_TRUE(file.valid());
  EXPECT_EQ(recorder.names, "hop a a b file.txt =file.txt");
  EXPECT_EQ(walk_beneath({fd.get(), path.c_str()}, "forbidden/x", {.visitor = &recorder}), -EPERM);
}

}  // namespace
}  // namespace penstock
