// Whatever the Range value: the ranges lie within the representation, apart from each other, and within the cap.

#include "src/base/assert.h"
#include "src/http/range.h"

#include <cstring>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 9) return 0;
  uint64_t total = 0;
  std::memcpy(&total, data, 8);
  total >>= data[8] % 64;
  const size_t ranges_max = 1 + data[8] % 16;
  const std::string_view value(reinterpret_cast<const char*>(data) + 9, size - 9);
  ByteRange ranges[16];
  const RangeVerdict verdict = parse_range(value, total, ranges_max, ranges);
  ASSERT((verdict.outcome == RangeOutcome::SATISFIABLE) == (verdict.count != 0));
  ASSERT(verdict.count <= ranges_max);
  const Multipart multipart("text/plain", total, 7);
  char room[Multipart::PART_HEAD_BYTES_MAX];
  uint64_t sum = multipart.write_tail(room);
  for (size_t i = 0; i < verdict.count; ++i) {
    ASSERT(ranges[i].first <= ranges[i].last && ranges[i].last < total);
    for (size_t k = 0; k < i; ++k) {
      const ByteRange low = ranges[i].first < ranges[k].first ? ranges[i] : ranges[k];
      const ByteRange high = ranges[i].first < ranges[k].first ? ranges[k] : ranges[i];
      ASSERT(high.first > low.last && high.first - low.last > 1);
    }
    const size_t head = multipart.write_part_head(room, i, ranges[i]);
    ASSERT(head != 0);
    sum += head + ranges[i].size();
  }
  if (verdict.count != 0) ASSERT(multipart.total_bytes({ranges, verdict.count}) == sum);
  return 0;
}
