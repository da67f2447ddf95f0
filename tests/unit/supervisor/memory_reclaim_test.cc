#include "pool/supervisor/memory_reclaim.h"

#include <gtest/gtest.h>
#include <utility>
#include <vector>

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

}  // namespace
}  // namespace penstock
