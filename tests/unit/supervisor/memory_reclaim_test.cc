#include "pool/supervisor/memory_reclaim.h"

#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "tests/support/temp_dir.h"

#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock {
namespace {

TEST(MemoryReclaim, takes_what_is_the_process_s_own_and_can_be_read) {
  const auto ranges = reclaimable_ranges(
      "1000-3000 r--p 00000000 08:01 1 /bin/x\n"
      "3000-4000 rw-p 00000000 00:00 0 [heap]\n"
      "4000-5000 ---p 00000000 00:00 0 \n"
      "5000-6000 r--s 00000000 08:01 2 /data\n"
      "6000-7000 rw-s 00000000 00:01 3 /memfd:ring (deleted)\n"
      "7000-8000 r--p 00000000 00:00 0 [vvar]\n"
      "8000-9000 r-xp 00000000 00:00 0 [vdso]\n"
      "7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]\n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n");
  std::vector<std::pair<uint64_t, uint64_t>> got;
  for (const MemoryRange& range : ranges) got.emplace_back(range.begin, range.end);
  const std::vector<std::pair<uint64_t, uint64_t>> wanted = {
      {0x1000, 0x3000}, {0x3000, 0x4000}, {0x5000, 0x6000}, {0x7ffffffde000, 0x7ffffffff000}};
  EXPECT_EQ(got, wanted);
}

TEST(MemoryReclaim, lines_that_are_none_are_passed_over) {
  EXPECT_TRUE(reclaimable_ranges("").empty());
  EXPECT_TRUE(reclaimable_ranges("x\n-\n1000\n1000-\n1000-2000\n2000-1000 r--p 0\n").empty());
}

// A process that has touched every page of a file that nobody else has mapped.
TEST(MemoryReclaim, a_file_s_pages_leave_a_stopped_process_and_come_back) {
  constexpr size_t BYTES = size_t{16} << 20;
  TempDir dir;
  dir.write("file", std::string(BYTES, 'x'));
  const UniqueFd fd(::open(dir.at("file").c_str(), O_RDONLY | O_CLOEXEC));
  struct statfs place {};
  ASSERT_EQ(::fstatfs(fd.get(), &place), 0);
  if (place.f_type == TMPFS_MAGIC) GTEST_SKIP() << "a file in memory goes nowhere without swap";
  ASSERT_EQ(::fdatasync(fd.get()), 0);  // what is not written yet cannot go
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    auto* const bytes = static_cast<const char*>(::mmap(nullptr, BYTES, PROT_READ, MAP_PRIVATE, fd.get(), 0));
    for (int round = 0; round < 2; ++round) {
      unsigned sum = 0;
      for (size_t at = 0; at < BYTES; at += 4096) sum += static_cast<unsigned char>(bytes[at]);
      if (::write(ends[1], &sum, sizeof sum) != sizeof sum) ::_exit(1);
      ::raise(SIGSTOP);
    }
    ::_exit(0);
  }
  unsigned first = 0;
  unsigned second = 0;
  ASSERT_EQ(::read(ends[0], &first, sizeof first), static_cast<ssize_t>(sizeof first));
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, WUNTRACED), pid);
  const auto resident = [pid] {
    std::string text;
    const UniqueFd statm(::open(("/proc/" + std::to_string(pid) + "/statm").c_str(), O_RDONLY | O_CLOEXEC));
    text.resize(200);
    text.resize(static_cast<size_t>(::read(statm.get(), text.data(), text.size())));
    const std::string_view pages = std::string_view(text).substr(text.find(' ') + 1);
    return parse_decimal(pages.substr(0, pages.find(' '))).value_or(0) * 4096;
  };
  const uint64_t before = resident();
  RealClock clock;
  MemoryReclaim reclaim(pid);
  int steps = 1;
  while (!reclaim.step(clock, {})) ++steps;  // a piece at a time
  const uint64_t after = resident();
  ::kill(pid, SIGCONT);
  EXPECT_EQ(::read(ends[0], &second, sizeof second), static_cast<ssize_t>(sizeof second));
  EXPECT_EQ(first, second);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, &status, 0);
  if (reclaim.problem().ends_with("not permitted")) GTEST_SKIP() << reclaim.problem();
  EXPECT_GT(steps, 4);
  EXPECT_GE(before - after, BYTES);
  EXPECT_GE(before, BYTES);
}

}  // namespace
}  // namespace penstock
