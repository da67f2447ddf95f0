#include "pool/supervisor/cgroup.h"

#include "tests/support/temp_dir.h"

#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock {
namespace {

// A /proc of our own, whose mounts lie in a temporary folder.
class CgroupPlaces : public testing::Test {
 protected:
  void describe(const std::string& mounts, const std::string& own) {
    ::mkdir((dir_.path() + "/self").c_str(), 0755);
    std::ofstream(dir_.path() + "/self/mounts") << mounts;
    std::ofstream(dir_.path() + "/self/cgroup") << own;
  }
  std::string folder(const std::string& name) {
    const std::string path = dir_.path() + "/" + name;
    ::mkdir(path.c_str(), 0755);
    return path;
  }
  TempDir dir_;
};

TEST_F(CgroupPlaces, version_2_is_taken_where_it_has_the_controllers) {
  const std::string v2 = folder("v2");
  folder("v2/service");
  std::ofstream(v2 + "/service/cgroup.controllers") << "cpuset cpu io memory pids\n";
  describe("cgroup2 " + v2 + " cgroup2 rw 0 0\n", "0::/service\n");
  EXPECT_EQ(CgroupTree(dir_.path()).text(), "cgroup v2 at " + v2 + "/service");
}

TEST_F(CgroupPlaces, version_1_is_taken_where_version_2_has_none) {
  const std::string v2 = folder("v2");
  std::ofstream(v2 + "/cgroup.controllers") << "\n";
  describe("cgroup2 " + v2 + " cgroup2 rw 0 0\ncgroup " + folder("cpu") + " cgroup rw,relatime,cpu 0 0\n",
           "5:cpu:/\n0::/\n");
  EXPECT_EQ(CgroupTree(dir_.path()).text(), "cgroup v1");
}

TEST_F(CgroupPlaces, what_is_missing_is_said) {
  describe("proc /proc proc rw 0 0\n", "0::/\n");
  CgroupTree none(dir_.path());
  EXPECT_EQ(none.text(), "no cgroup file system is mounted");
  EXPECT_TRUE(none.set("a", {})) << "nothing is asked for";
  const Status refused = none.set("a", {.memory_max = 1 << 20});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "no cgroup file system is mounted");
  EXPECT_TRUE(none.add("a", ::getpid())) << "a pool without groups";
  EXPECT_NE(CgroupTree(dir_.path() + "/nowhere").text().find("no cgroups"), std::string::npos);
}

TEST_F(CgroupPlaces, the_other_limit_holds_where_one_controller_is_missing) {
  const std::string cpu = folder("cpu");
  describe("cgroup " + cpu + " cgroup rw,cpu 0 0\n", "5:cpu:/\n");
  const Status refused = CgroupTree(dir_.path()).set("a", {.memory_max = 1 << 20});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "there is no memory controller");
}

// The real ones, where this machine lets us.
TEST(CgroupTree, holds_the_memory_of_a_process_down_and_counts_its_death) {
  CgroupTree tree;
  if (const Status ok = tree.set("unit-test", {.memory_max = 32 << 20, .cpu_percent = 50}); !ok) {
    GTEST_SKIP() << ok.error().message;
  }
  EXPECT_EQ(tree.memory_kills("unit-test"), 0U);
  int go[2];
  ASSERT_EQ(::pipe(go), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    (void)!::read(go[0], &byte, 1);
    constexpr size_t BYTES = 128 << 20;
    auto* at = static_cast<char*>(::mmap(nullptr, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t i = 0; i < BYTES; i += 4096) at[i] = 1;
    ::_exit(0);
  }
  const Status added = tree.add("unit-test", child);
  EXPECT_TRUE(added) << added.error().message;
  (void)!::write(go[1], "g", 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(go[0]);
  ::close(go[1]);
  if (WIFEXITED(status)) GTEST_SKIP() << "the memory went to swap";
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_EQ(tree.memory_kills("unit-test"), 1U);
}

}  // namespace
}  // namespace penstock
