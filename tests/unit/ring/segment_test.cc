#include "pool/ring/segment.h"

#include <algorithm>
#include <cerrno>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace penstock {
namespace {

TEST(Segment, refuses_impossible_shapes) {
  EXPECT_TRUE(create_segment({}).has_value());
  for (const SegmentShape& shape :
       {SegmentShape{.channels = 0}, SegmentShape{.channels = 5000}, SegmentShape{.entries = 32},
        SegmentShape{.entries = 100}, SegmentShape{.entries = 1 << 17}, SegmentShape{.exchanges_max = 0},
        SegmentShape{.exchanges_max = 1025}, SegmentShape{.chunk_bytes = 1000}, SegmentShape{.chunk_bytes = 0},
        SegmentShape{.chunks = 1}, SegmentShape{.chunk_bytes = 1 << 20, .chunks = 4096},
        SegmentShape{.arena_bytes = 12'288}, SegmentShape{.arena_bytes = 0}}) {
    EXPECT_FALSE(create_segment(shape).has_value());
  }
}

TEST(Segment, gives_every_area_pages_of_its_own) {
  const SegmentShape shape{.channels = 3, .entries = 64, .chunk_bytes = 4096, .chunks = 70, .arena_bytes = 8192};
  const SegmentMemory memory = create_segment(shape).value();
  const Segment segment =
      Segment::map(memory.server_half.get(), memory.worker_half.get(), Segment::Side::SERVER).value();
  std::vector<std::pair<uintptr_t, size_t>> areas;
  const auto add = [&areas](const void* at, size_t bytes) {
    areas.emplace_back(reinterpret_cast<uintptr_t>(at), bytes);
  };
  for (uint32_t i = 0; i < shape.channels; ++i) {
    const ChannelMemory channel = segment.channel(i);
    add(channel.server, PENSTOCK_PAGE);
    add(channel.cancel, PENSTOCK_PAGE);
    add(channel.requests, size_t{64} * PENSTOCK_DESCRIPTOR_BYTES);
    add(channel.server_arena, size_t{4096} * 70);
    add(channel.worker, PENSTOCK_PAGE);
    add(channel.responses, size_t{64} * PENSTOCK_DESCRIPTOR_BYTES);
    add(channel.worker_arena, 8192);
  }
  std::sort(areas.begin(), areas.end());
  for (size_t i = 0; i < areas.size(); ++i) {
    EXPECT_EQ(areas[i].first % PENSTOCK_PAGE, 0U);
    EXPECT_EQ(areas[i].second % PENSTOCK_PAGE, 0U);
    if (i == 0) continue;
    EXPECT_LE(areas[i - 1].first + areas[i - 1].second, areas[i].first);
  }
}

TEST(Segment, is_the_same_memory_on_both_sides) {
  const SegmentMemory memory = create_segment({.channels = 2, .worker = 77}).value();
  const UniqueFd for_worker = read_only(memory.server_half.get()).value();
  const UniqueFd for_server = read_only(memory.worker_half.get()).value();
  const Segment server = Segment::map(memory.server_half.get(), for_server.get(), Segment::Side::SERVER).value();
  const Segment worker = Segment::map(for_worker.get(), memory.worker_half.get(), Segment::Side::WORKER).value();
  EXPECT_EQ(worker.header().worker, 77U);
  server.channel(1).server->request_tail = 5;
  EXPECT_EQ(worker.channel(1).server->request_tail, 5U);
  EXPECT_EQ(worker.channel(0).server->request_tail, 0U);
  worker.channel(1).worker_arena[9] = 'x';
  EXPECT_EQ(server.channel(1).worker_arena[9], 'x');
}

TEST(Segment, cannot_be_written_by_who_may_only_read) {
  const SegmentMemory memory = create_segment({}).value();
  const UniqueFd for_worker = read_only(memory.server_half.get()).value();
  EXPECT_FALSE(Segment::map(for_worker.get(), memory.worker_half.get(), Segment::Side::SERVER).has_value());
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, for_worker.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  void* const page = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, for_worker.get(), 0);
  ASSERT_NE(page, MAP_FAILED);
  EXPECT_NE(::mprotect(page, 4096, PROT_READ | PROT_WRITE), 0);
  ::munmap(page, 4096);
  EXPECT_EQ(::pwrite(for_worker.get(), "x", 1, 0), -1);
}

TEST(Segment, cannot_be_cut_under_the_other_side) {
  const SegmentMemory memory = create_segment({}).value();
  EXPECT_NE(::ftruncate(memory.worker_half.get(), 0), 0);
  EXPECT_NE(::ftruncate(memory.server_half.get(), 1 << 30), 0);
}

TEST(Segment, refuses_what_is_none) {
  const SegmentMemory memory = create_segment({}).value();
  const SegmentMemory other = create_segment({.arena_bytes = 1 << 16}).value();
  using Side = Segment::Side;
  EXPECT_FALSE(Segment::map(memory.worker_half.get(), memory.server_half.get(), Side::SERVER).has_value());
  EXPECT_FALSE(Segment::map(memory.server_half.get(), other.worker_half.get(), Side::SERVER).has_value());
  EXPECT_FALSE(Segment::map(-1, -1, Side::SERVER).has_value());
  penstock_segment header{};
  ASSERT_EQ(::pread(memory.server_half.get(), &header, sizeof header, 0), static_cast<ssize_t>(sizeof header));
  header.version = header.version_max = PENSTOCK_ABI_VERSION + 1;
  ASSERT_EQ(::pwrite(memory.server_half.get(), &header, sizeof header, 0), static_cast<ssize_t>(sizeof header));
  EXPECT_FALSE(Segment::map(memory.server_half.get(), memory.worker_half.get(), Side::SERVER).has_value());
}

}  // namespace
}  // namespace penstock
