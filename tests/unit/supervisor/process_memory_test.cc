#include "pool/supervisor/process_memory.h"

#include "tests/support/temp_dir.h"

#include <filesystem>
#include <gtest/gtest.h>

namespace penstock {
namespace {

class ProcessMemory : public testing::Test {
 protected:
  void process(const std::string& pid, const std::string& statm, const std::string& children) {
    std::filesystem::create_directories(dir_.at(pid + "/task/" + pid));
    dir_.write(pid + "/statm", statm);
    dir_.write(pid + "/task/" + pid + "/children", children);
  }
  [[nodiscard]] uint64_t pages_of(pid_t pid) const {
    return tree_resident_bytes(pid, dir_.path()).value_or(0) / static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  TempDir dir_;
};

TEST_F(ProcessMemory, counts_the_process_and_what_its_descendants_have_of_their_own) {
  process("10", "1000 100 40 1 0 9 0\n", "11 12 ");
  process("11", "1000 200 150 1 0 9 0\n", "13 ");
  process("12", "1000 30 40 1 0 9 0\n", "");
  process("13", "1000 7 0 1 0 9 0\n", "");
  EXPECT_EQ(pages_of(10), 100U + 50 + 0 + 7);
}

TEST_F(ProcessMemory, counts_what_any_of_its_threads_has_started) {
  process("10", "1000 100 40 1 0 9 0\n", "");
  std::filesystem::create_directories(dir_.at("10/task/15"));
  dir_.write("10/task/15/children", "11");
  process("11", "1000 200 150 1 0 9 0\n", "");
  EXPECT_EQ(pages_of(10), 150U);
}

TEST_F(ProcessMemory, knows_one_that_has_ended_and_goes_on_without_a_child_that_has) {
  EXPECT_EQ(tree_resident_bytes(10, dir_.path()), std::nullopt);
  process("10", "1000 100 40 1 0 9 0\n", "11 ");
  EXPECT_EQ(pages_of(10), 100U);
}

TEST_F(ProcessMemory, counts_the_time_of_all_and_of_those_that_were_waited_for) {
  EXPECT_EQ(tree_cpu_time(10, dir_.path()), std::nullopt);
  process("10", "", "11 12 ");
  dir_.write("10/stat", "10 (a) name) R 1 2 3 4 -1 6 7 8 9 10 100 20 3 4 20 0 1 0 99\n");
  process("11", "", "");
  dir_.write("11/stat", "11 () S 1 2 3 4 -1 6 7 8 9 10 0 1000 0 0 20 0 1 0 99\n");
  EXPECT_EQ(*tree_cpu_time(10, dir_.path()), milliseconds(1'127 * 1'000 / ::sysconf(_SC_CLK_TCK)));
}

TEST_F(ProcessMemory, looks_at_no_more_processes_than_it_may) {
  process("10", "1000 1 0 1 0 9 0\n", "10 10 ");  // a tree that doubles for ever
  EXPECT_EQ(pages_of(10), PROCESSES_MAX);
}

TEST_F(ProcessMemory, of_the_machine_is_what_is_not_available) {
  EXPECT_EQ(memory_used_percent(dir_.path()), std::nullopt);
  dir_.write("meminfo", "MemTotal:       24684084 kB\nMemFree:        100 kB\nMemAvailable:   6171021 kB\n");
  EXPECT_EQ(memory_used_percent(dir_.path()), 75U);
  dir_.write("meminfo", "MemTotal:       0 kB\nMemAvailable:   0 kB\n");
  EXPECT_EQ(memory_used_percent(dir_.path()), std::nullopt);
  dir_.write("meminfo", "MemTotal:       10 kB\nMemAvailable:   11 kB\n");
  EXPECT_EQ(memory_used_percent(dir_.path()), std::nullopt);
  dir_.write("meminfo", "MemTotal:       10 kB\nMemFree:   1 kB\n");
  EXPECT_EQ(memory_used_percent(dir_.path()), std::nullopt);
  EXPECT_GT(memory_used_percent().value_or(0), 0U) << "here";
}

TEST(ProcessMemoryHere, sees_this_process) { EXPECT_GT(tree_resident_bytes(::getpid()).value_or(0), 100'000U); }

}  // namespace
}  // namespace penstock
