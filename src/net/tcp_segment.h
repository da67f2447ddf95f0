// TcpSegment: a segment that has arrived, in the words of RFC 9293 section 3.3.1: SEG.SEQ, SEG.ACK, SEG.LEN, SEG.WND.
#pragma once

#include "src/net/seq_num.h"
#include "src/net/wire/tcp_header.h"

#include <span>

namespace penstock {

struct TcpSegment {
  TcpHeader header;
  TcpOptions options;
  SeqNum seq;
  SeqNum ack;
  uint8_t flags = 0;
  std::span<const uint8_t> data;

  [[nodiscard]] bool has(uint8_t bits) const { return (flags & bits) != 0; }
  // SEG.LEN: SYN and FIN take a number each.
  [[nodiscard]] uint32_t length() const {
    return static_cast<uint32_t>(data.size()) + (has(TCP_SYN) ? 1 : 0) + (has(TCP_FIN) ? 1 : 0);
  }
};

}  // namespace penstock
