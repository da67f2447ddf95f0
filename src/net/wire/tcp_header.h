// TCP headers and options (RFC 9293 section 3.1; RFC 7323; RFC 2018). Pure: no state, no checksum.
#pragma once

#include "src/net/wire/drop_reason.h"

#include <array>
#include <cstdint>
#include <span>

namespace penstock {

inline constexpr uint8_t TCP_FIN = 0x01;
inline constexpr uint8_t TCP_SYN = 0x02;
inline constexpr uint8_t TCP_RST = 0x04;
inline constexpr uint8_t TCP_PSH = 0x08;
inline constexpr uint8_t TCP_ACK = 0x10;
inline constexpr uint8_t TCP_URG = 0x20;

struct SackBlock {
  uint32_t left = 0;   // first byte received
  uint32_t right = 0;  // first byte behind them
};

struct TcpOptions {
  static constexpr size_t SACK_BLOCKS_MAX = 4;
  static constexpr uint8_t WINDOW_SCALE_MAX = 14;  // RFC 7323 section 2.3: a larger one is taken for 14

  uint16_t mss = 0;  // 0: absent
  bool has_window_scale = false;
  uint8_t window_scale = 0;
  bool sack_permitted = false;
  bool has_timestamps = false;
  uint32_t ts_val = 0;
  uint32_t ts_ecr = 0;
  uint8_t sack_count = 0;
  std::array<SackBlock, SACK_BLOCKS_MAX> sacks = {};  // the first sack_count
};

struct TcpHeader {
  static constexpr size_t BYTES = 20;
  static constexpr size_t BYTES_MAX = 60;
  static constexpr size_t TIMESTAMP_BYTES =
      12;  // of the option with its padding, as everybody sends it (RFC 7323 appendix A)

  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint32_t seq = 0;
  uint32_t ack = 0;
  uint8_t flags = 0;
  uint16_t window = 0;  // not scaled
  uint8_t bytes = 0;    // with options
};

// The fixed part and where the payload begins. TCP_SHORT, TCP_HEADER_LENGTH, NONE.
[[nodiscard]] DropReason parse_tcp(std::span<const uint8_t> segment, TcpHeader& header);
// The options of a segment whose header was parsed. MSS, window scale and SACK-permitted count with SYN only. Unknown
// kinds are skipped (RFC 9293 MUST-6), known ones with another length than theirs too. TCP_OPTION_MALFORMED (MUST-7),
// NONE.
[[nodiscard]] DropReason parse_tcp_options(std::span<const uint8_t> segment, const TcpHeader& header,
                                           TcpOptions& options);
// The one form of options that a fast path knows: NOP NOP timestamps, nothing else. False: it is something else.
[[nodiscard]] bool parse_tcp_timestamps_only(std::span<const uint8_t> segment, const TcpHeader& header,
                                             uint32_t& ts_val, uint32_t& ts_ecr);

// Writes header and options (in SYN: those of SYN), checksum 0, urgent pointer 0; sets header.bytes and returns it. As
// many SACK blocks as there is room for, the first ones first. REQUIRES: room for BYTES_MAX.
size_t write_tcp(uint8_t* out, TcpHeader& header, const TcpOptions& options);
inline constexpr size_t TCP_CHECKSUM_OFFSET = 16;

}  // namespace penstock
