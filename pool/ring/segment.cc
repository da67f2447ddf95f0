#include "pool/ring/segment.h"

#include "src/base/assert.h"

#include <algorithm>
#include <bit>
#include <string>
#include <type_traits>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

static_assert(sizeof(penstock_descriptor) == PENSTOCK_DESCRIPTOR_BYTES);
static_assert(sizeof(penstock_server_page) <= PENSTOCK_PAGE && sizeof(penstock_worker_page) <= PENSTOCK_PAGE);
static_assert(sizeof(penstock_cancel_page) == PENSTOCK_PAGE && sizeof(penstock_segment) <= PENSTOCK_PAGE);
static_assert(std::is_trivially_copyable_v<penstock_descriptor>);
static_assert(std::endian::native == std::endian::little, "the segment's numbers are the machine's");

constexpr uint32_t CHANNELS_MAX = 1'024;
constexpr uint32_t CHUNKS_MAX = 65'536;
constexpr uint32_t BYTES_MAX = 1U << 30;  // of an arena: offsets have 32 bits

uint64_t ring_bytes(const penstock_segment& header) { return uint64_t{header.entries} * PENSTOCK_DESCRIPTOR_BYTES; }

uint64_t server_channel_bytes(const penstock_segment& header) {
  return 2 * PENSTOCK_PAGE + ring_bytes(header) + uint64_t{header.chunk_bytes} * header.chunks;
}

uint64_t worker_channel_bytes(const penstock_segment& header) {
  return PENSTOCK_PAGE + ring_bytes(header) + header.arena_bytes;
}

uint64_t server_half_bytes(const penstock_segment& header) {
  return PENSTOCK_PAGE + header.channels * header.server_channel_bytes;
}

uint64_t worker_half_bytes(const penstock_segment& header) { return header.channels * header.worker_channel_bytes; }

bool in_pages(uint32_t bytes) { return bytes > 0 && bytes % PENSTOCK_PAGE == 0 && bytes <= BYTES_MAX; }

uint32_t newest_spoken(const penstock_segment& header) {
  return header.version_max != 0 ? header.version_max : header.version;
}

Status check_header(const penstock_segment& header) {
  if (header.magic != PENSTOCK_ABI_MAGIC) return fail("not a worker's segment: wrong magic number");
  // A newer server may know more than we do, as long as it still speaks what we know; and the other way round.
  if (header.version > PENSTOCK_ABI_VERSION || newest_spoken(header) < PENSTOCK_ABI_VERSION_MIN ||
      newest_spoken(header) < header.version) {
    return fail("a worker's segment of the versions " + std::to_string(header.version) + " to " +
                std::to_string(newest_spoken(header)) + ", understood are " + std::to_string(PENSTOCK_ABI_VERSION_MIN) +
                " to " + std::to_string(PENSTOCK_ABI_VERSION));
  }
  const bool possible = header.channels >= 1 && header.channels <= CHANNELS_MAX && header.entries >= 64 &&
                        header.entries <= 65'536 && std::has_single_bit(header.entries) && header.exchanges_max >= 1 &&
                        header.exchanges_max <= PENSTOCK_EXCHANGES_MAX && in_pages(header.chunk_bytes) &&
                        header.chunks >= 2 && header.chunks <= CHUNKS_MAX &&
                        uint64_t{header.chunk_bytes} * header.chunks <= BYTES_MAX && in_pages(header.arena_bytes) &&
                        std::has_single_bit(header.arena_bytes);
  if (!possible || header.server_channel_bytes != server_channel_bytes(header) ||
      header.worker_channel_bytes != worker_channel_bytes(header)) {
    return fail("a worker's segment with an impossible geometry");
  }
  return {};
}

}  // namespace

Result<SegmentMemory> create_segment(const SegmentShape& shape) {
  penstock_segment header{.magic = PENSTOCK_ABI_MAGIC,
                          .version = PENSTOCK_ABI_VERSION_MIN,
                          .channels = shape.channels,
                          .entries = shape.entries,
                          .exchanges_max = shape.exchanges_max,
                          .chunk_bytes = shape.chunk_bytes,
                          .chunks = shape.chunks,
                          .arena_bytes = shape.arena_bytes,
                          .version_max = shape.version_max,
                          .server_channel_bytes = 0,
                          .worker_channel_bytes = 0,
                          .worker = shape.worker};
  header.server_channel_bytes = server_channel_bytes(header);
  header.worker_channel_bytes = worker_channel_bytes(header);
  if (Status possible = check_header(header); !possible) return std::unexpected(possible.error());
  Result<UniqueFd> server_half = create_shared_memory("penstock-requests", server_half_bytes(header));
  if (!server_half) return std::unexpected(server_half.error());
  Result<UniqueFd> worker_half = create_shared_memory("penstock-responses", worker_half_bytes(header));
  if (!worker_half) return std::unexpected(worker_half.error());
  if (::pwrite(server_half->get(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
    return fail_errno("write a segment's header");
  }
  return SegmentMemory{std::move(*server_half), std::move(*worker_half)};
}

Result<Segment> Segment::map(int server_half, int worker_half, Side side) {
  Segment segment;
  penstock_segment& header = segment.header_;
  if (::pread(server_half, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
    return fail_errno("read a segment's header");
  }
  if (Status ok = check_header(header); !ok) return std::unexpected(ok.error());
  const uint64_t server_bytes = server_half_bytes(header);
  const uint64_t worker_bytes = worker_half_bytes(header);
  if (Status ok = check_shared_memory(server_half, server_bytes, "the server's half"); !ok) {
    return std::unexpected(ok.error());
  }
  if (Status ok = check_shared_memory(worker_half, worker_bytes, "the worker's half"); !ok) {
    return std::unexpected(ok.error());
  }
  using Access = SharedMapping::Access;
  const bool server = side == Side::SERVER;
  auto ours = SharedMapping::map(server_half, server_bytes, server ? Access::READ_WRITE : Access::READ);
  if (!ours) return std::unexpected(ours.error());
  auto theirs = SharedMapping::map(worker_half, worker_bytes, server ? Access::READ : Access::READ_WRITE);
  if (!theirs) return std::unexpected(theirs.error());
  segment.server_half_ = std::move(*ours);
  segment.worker_half_ = std::move(*theirs);
  return segment;
}

ChannelMemory Segment::channel(uint32_t number) const {
  ASSERT(number < header_.channels);
  unsigned char* const server = server_half_.data() + PENSTOCK_PAGE + number * header_.server_channel_bytes;
  unsigned char* const worker = worker_half_.data() + number * header_.worker_channel_bytes;
  // Plain integers in zeroed memory: objects of these types live there from the mapping on.
  return {.server = reinterpret_cast<penstock_server_page*>(server),
          .cancel = reinterpret_cast<penstock_cancel_page*>(server + PENSTOCK_PAGE),
          .requests = reinterpret_cast<penstock_descriptor*>(server + 2 * PENSTOCK_PAGE),
          .server_arena = server + 2 * PENSTOCK_PAGE + ring_bytes(header_),
          .worker = reinterpret_cast<penstock_worker_page*>(worker),
          .responses = reinterpret_cast<penstock_descriptor*>(worker + PENSTOCK_PAGE),
          .worker_arena = worker + PENSTOCK_PAGE + ring_bytes(header_),
          .entries = header_.entries,
          .exchanges_max = header_.exchanges_max,
          .chunk_bytes = header_.chunk_bytes,
          .chunks = header_.chunks,
          .arena_bytes = header_.arena_bytes,
          .version_max = std::min(newest_spoken(header_), PENSTOCK_ABI_VERSION)};
}

}  // namespace penstock
