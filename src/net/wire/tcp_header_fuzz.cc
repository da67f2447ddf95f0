// Whatever the bytes: header and options are read within them, and what we write of what was read, reads the same.

#include "src/base/assert.h"
#include "src/net/wire/tcp_header.h"

#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::vector<uint8_t> segment(data, data + size);
  TcpHeader header;
  if (parse_tcp(segment, header) != DropReason::NONE) return 0;
  ASSERT(header.bytes >= TcpHeader::BYTES && header.bytes <= segment.size());
  TcpOptions options;
  if (parse_tcp_options(segment, header, options) != DropReason::NONE) return 0;
  ASSERT(options.sack_count <= TcpOptions::SACK_BLOCKS_MAX && options.window_scale <= TcpOptions::WINDOW_SCALE_MAX);
  uint32_t ts_val = 0;
  uint32_t ts_ecr = 0;
  if (parse_tcp_timestamps_only(segment, header, ts_val, ts_ecr)) {
    ASSERT(options.has_timestamps && options.ts_val == ts_val && options.ts_ecr == ts_ecr);
  }
  std::vector<uint8_t> out(TcpHeader::BYTES_MAX);
  TcpHeader written = header;
  out.resize(write_tcp(out.data(), written, options));
  TcpHeader again;
  TcpOptions copy;
  ASSERT(parse_tcp(out, again) == DropReason::NONE && again.bytes == out.size());
  ASSERT(parse_tcp_options(out, again, copy) == DropReason::NONE);
  ASSERT(again.seq == header.seq && again.ack == header.ack && again.flags == header.flags &&
         again.window == header.window);
  ASSERT(copy.mss == options.mss && copy.has_window_scale == options.has_window_scale &&
         copy.sack_permitted == options.sack_permitted);
  ASSERT(copy.has_timestamps == options.has_timestamps && copy.ts_val == options.ts_val &&
         copy.ts_ecr == options.ts_ecr);
  ASSERT(copy.sack_count <= options.sack_count);
  for (size_t i = 0; i < copy.sack_count; ++i) ASSERT(copy.sacks[i].left == options.sacks[i].left);
  return 0;
}
