// MemoryReclaim with a process of its own, which a sanitizer's shadow would make some terabytes to walk.
#include "pool/supervisor/memory_reclaim.h"

#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/base/unique_fd.h"
#include "tests/support/temp_dir.h"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock {
namespace {

// A process that has touched every page of a file that nobody else has mapped.
TEST(MemoryReclaimOfAProcess, a_file_s_pages_leave_a_stopped_process_and_come_back) {
  constexpr size_t BYTES = size_t{16} << 20;
  const TempDir dir(std::filesystem::read_symlink("/proc/self/exe")
                        .parent_path());  // on a disk: what lies in memory goes nowhere without swap
  dir.write("file", std::string(BYTES, 'x'));
  const UniqueFd fd(::open(dir.at("file").c_str(), O_RDONLY | O_CLOEXEC));
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
