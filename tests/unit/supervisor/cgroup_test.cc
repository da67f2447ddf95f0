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

// Version 2 as the kernel would show it: a folder whose files are there, to be written into.
class CgroupVersion2 : public CgroupPlaces {
 protected:
  CgroupVersion2() {
    folder("v2");
    folder("v2/service");
    folder("v2/service/" + own_);
    pool_ = folder("v2/service/" + own_ + "/shop");
    std::ofstream(dir_.at("v2/service/cgroup.controllers")) << "cpuset cpu io memory pids\n";
    for (const char* file : {"", "/shop"}) std::ofstream(dir_.at("v2/service/" + own_ + file + "/cgroup.procs"));
    std::ofstream(dir_.at("v2/service/cgroup.subtree_control"));
    std::ofstream(dir_.at("v2/service/" + own_ + "/cgroup.subtree_control"));
    for (const char* file : {"/memory.max", "/cpu.max"}) std::ofstream(pool_ + file).close();
    describe("cgroup2 " + dir_.at("v2") + " cgroup2 rw 0 0\n", "0::/service\n");
  }
  // What was written there since the last look.
  static std::string written(const std::string& path) {
    std::ifstream file(path);
    std::string text(std::istreambuf_iterator<char>(file), {});
    std::ofstream(path, std::ios::trunc).close();
    return text;
  }
  const std::string own_ = "penstock-" + std::to_string(::getpid());
  std::string pool_;
};

TEST_F(CgroupVersion2, controllers_are_handed_down_and_limits_written) {
  CgroupTree tree(dir_.path());
  const Status set = tree.set("shop", {.memory_max = 64 << 20, .cpu_percent = 10});
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ(written(dir_.at("v2/service/cgroup.subtree_control")), "+cpu +memory");
  EXPECT_EQ(written(dir_.at("v2/service/" + own_ + "/cgroup.subtree_control")), "+cpu +memory");
  EXPECT_EQ(written(pool_ + "/memory.max"), "67108864");
  EXPECT_EQ(written(pool_ + "/cpu.max"), "10000 100000") << "a tenth of a core";
  ASSERT_TRUE(tree.set("shop", {.memory_max = 0, .cpu_percent = 250}));
  EXPECT_EQ(written(pool_ + "/memory.max"), "max");
  EXPECT_EQ(written(pool_ + "/cpu.max"), "250000 100000");
  ASSERT_TRUE(tree.set("shop", {}));
  EXPECT_EQ(written(pool_ + "/cpu.max"), "max 100000");
}

TEST_F(CgroupVersion2, a_process_is_put_into_its_pools_group_once_and_its_deaths_are_read) {
  CgroupTree tree(dir_.path());
  ASSERT_TRUE(tree.set("shop", {.memory_max = 64 << 20}));
  ASSERT_TRUE(tree.add("shop", 4711));
  EXPECT_EQ(written(pool_ + "/cgroup.procs"), "4711");
  EXPECT_EQ(tree.memory_kills("shop"), 0U);
  std::ofstream(pool_ + "/memory.events") << "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n";
  EXPECT_EQ(tree.memory_kills("shop"), 2U);
}

TEST_F(CgroupVersion2, a_limit_that_the_kernel_refuses_is_told_and_the_other_holds) {
  ::unlink((pool_ + "/memory.max").c_str());
  CgroupTree tree(dir_.path());
  const Status set = tree.set("shop", {.memory_max = 64 << 20, .cpu_percent = 10});
  ASSERT_FALSE(set);
  EXPECT_NE(set.error().message.find("memory.max"), std::string::npos);
  EXPECT_EQ(written(pool_ + "/cpu.max"), "10000 100000");
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
