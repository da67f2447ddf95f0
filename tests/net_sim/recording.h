// Recording: one TCP connection of two reference peers, headers alone, out of a pcap file that recordings/record.py has
// made. Who opens it is the client, whose port is not the server's.
#pragma once

#include "src/base/time.h"
#include "src/net/wire/ip_address.h"
#include "src/net/wire/tcp_header.h"

#include <string>
#include <vector>

namespace penstock {

enum class Side : uint8_t { CLIENT, SERVER };
constexpr Side other_side(Side side) { return side == Side::CLIENT ? Side::SERVER : Side::CLIENT; }

struct RecordedSegment {
  Duration at;  // since the recording began
  Side from = Side::CLIENT;
  std::vector<uint8_t> headers;  // Ethernet, IP and TCP, with their options, as they were
  size_t tcp_at = 0;             // where TCP's begins
  TcpHeader tcp;
  TcpOptions options;
  uint32_t bytes = 0;  // of payload, which was not kept

  [[nodiscard]] bool has(uint8_t flag) const { return (tcp.flags & flag) != 0; }
  // SEG.LEN of RFC 9293.
  [[nodiscard]] uint32_t length() const { return bytes + (has(TCP_SYN) ? 1 : 0) + (has(TCP_FIN) ? 1 : 0); }
};

struct Recording {
  IpAddress addresses[2];  // by Side
  uint16_t ports[2] = {};
  uint32_t isns[2] = {};
  std::vector<RecordedSegment> segments;
};

// REQUIRES: the file is one of ours (asserted).
[[nodiscard]] Recording read_recording(const std::string& path);

}  // namespace penstock
