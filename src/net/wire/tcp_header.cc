#include "src/net/wire/tcp_header.h"

#include "src/net/wire/byte_order.h"

#include <cstring>

namespace penstock {
namespace {

enum OptionKind : uint8_t { END = 0, NOP = 1, MSS = 2, WINDOW_SCALE = 3, SACK_PERMITTED = 4, SACK = 5, TIMESTAMPS = 8 };
constexpr uint8_t MSS_BYTES = 4;
constexpr uint8_t WINDOW_SCALE_BYTES = 3;
constexpr uint8_t SACK_PERMITTED_BYTES = 2;
constexpr uint8_t TIMESTAMPS_BYTES = 10;
constexpr uint32_t TIMESTAMPS_ONLY = 0x0101080a;  // NOP NOP kind length

void take_option(const uint8_t* option, uint8_t size, bool syn, TcpOptions& options) {
  switch (option[0]) {
    case MSS:
      if (syn && size == MSS_BYTES) options.mss = load_be16(option + 2);
      return;
    case WINDOW_SCALE:
      if (!syn || size != WINDOW_SCALE_BYTES) return;
      options.has_window_scale = true;
      options.window_scale = option[2] < TcpOptions::WINDOW_SCALE_MAX ? option[2] : TcpOptions::WINDOW_SCALE_MAX;
      return;
    case SACK_PERMITTED:
      if (syn && size == SACK_PERMITTED_BYTES) options.sack_permitted = true;
      return;
    case SACK:
      if (size < 10 || (size - 2) % 8 != 0) return;
      for (uint8_t at = 2; at < size && options.sack_count < TcpOptions::SACK_BLOCKS_MAX;
           at = static_cast<uint8_t>(at + 8)) {
        options.sacks[options.sack_count++] = {load_be32(option + at), load_be32(option + at + 4)};
      }
      return;
    case TIMESTAMPS:
      if (size != TIMESTAMPS_BYTES) return;
      options.has_timestamps = true;
      options.ts_val = load_be32(option + 2);
      options.ts_ecr = load_be32(option + 6);
      return;
    default:
      return;
  }
}

}  // namespace

DropReason parse_tcp(std::span<const uint8_t> segment, TcpHeader& header) {
  if (segment.size() < TcpHeader::BYTES) return DropReason::TCP_SHORT;
  header.source_port = load_be16(&segment[0]);
  header.destination_port = load_be16(&segment[2]);
  header.seq = load_be32(&segment[4]);
  header.ack = load_be32(&segment[8]);
  header.bytes = static_cast<uint8_t>((segment[12] >> 4) * 4);
  header.flags = segment[13] & 0x3f;
  header.window = load_be16(&segment[14]);
  return header.bytes < TcpHeader::BYTES || header.bytes > segment.size() ? DropReason::TCP_HEADER_LENGTH
                                                                          : DropReason::NONE;
}

DropReason parse_tcp_options(std::span<const uint8_t> segment, const TcpHeader& header, TcpOptions& options) {
  options = {};
  const bool syn = (header.flags & TCP_SYN) != 0;
  for (size_t at = TcpHeader::BYTES; at < header.bytes;) {
    if (segment[at] == END) break;
    if (segment[at] == NOP) {
      ++at;
      continue;
    }
    if (at + 2 > header.bytes) return DropReason::TCP_OPTION_MALFORMED;
    const uint8_t size = segment[at + 1];
    if (size < 2 || at + size > header.bytes) return DropReason::TCP_OPTION_MALFORMED;
    take_option(&segment[at], size, syn, options);
    at += size;
  }
  return DropReason::NONE;
}

bool parse_tcp_timestamps_only(std::span<const uint8_t> segment, const TcpHeader& header, uint32_t& ts_val,
                               uint32_t& ts_ecr) {
  if (header.bytes != TcpHeader::BYTES + TcpHeader::TIMESTAMP_BYTES) return false;
  if (load_be32(&segment[TcpHeader::BYTES]) != TIMESTAMPS_ONLY) return false;
  ts_val = load_be32(&segment[TcpHeader::BYTES + 4]);
  ts_ecr = load_be32(&segment[TcpHeader::BYTES + 8]);
  return true;
}

size_t write_tcp(uint8_t* out, TcpHeader& header, const TcpOptions& options) {
  uint8_t* at = out + TcpHeader::BYTES;
  const auto put = [&at](uint8_t byte) { *at++ = byte; };
  if (options.mss != 0) {
    put(MSS);
    put(MSS_BYTES);
    store_be16(at, options.mss);
    at += 2;
  }
  if (options.sack_permitted) {
    if (!options.has_timestamps) put(NOP), put(NOP);
    put(SACK_PERMITTED);
    put(SACK_PERMITTED_BYTES);
  } else if (options.has_timestamps) {
    put(NOP), put(NOP);
  }
  if (options.has_timestamps) {
    put(TIMESTAMPS);
    put(TIMESTAMPS_BYTES);
    store_be32(at, options.ts_val);
    store_be32(at + 4, options.ts_ecr);
    at += 8;
  }
  if (options.has_window_scale) {
    put(NOP);
    put(WINDOW_SCALE);
    put(WINDOW_SCALE_BYTES);
    put(options.window_scale);
  }
  const size_t left = TcpHeader::BYTES_MAX - static_cast<size_t>(at - out);
  const size_t room = left < 4 ? 0 : (left - 4) / 8;
  const size_t blocks = options.sack_count < room ? options.sack_count : room;
  if (blocks != 0) {
    put(NOP), put(NOP), put(SACK);
    put(static_cast<uint8_t>(2 + 8 * blocks));
    for (size_t i = 0; i < blocks; ++i, at += 8) {
      store_be32(at, options.sacks[i].left);
      store_be32(at + 4, options.sacks[i].right);
    }
  }
  header.bytes = static_cast<uint8_t>(at - out);
  store_be16(out, header.source_port);
  store_be16(out + 2, header.destination_port);
  store_be32(out + 4, header.seq);
  store_be32(out + 8, header.ack);
  out[12] = static_cast<uint8_t>(header.bytes / 4 << 4);
  out[13] = header.flags;
  store_be16(out + 14, header.window);
  store_be32(out + 16, 0);  // checksum, urgent pointer
  return header.bytes;
}

}  // namespace penstock
