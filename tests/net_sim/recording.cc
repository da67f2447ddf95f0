#include "tests/net_sim/recording.h"

#include "src/base/assert.h"
#include "src/net/wire/byte_order.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip.h"

#include <cstring>
#include <fstream>
#include <iterator>

namespace penstock {
namespace {

// Of a pcap file, in the writer's byte order.
constexpr uint32_t MAGIC_MICROSECONDS = 0xa1b2c3d4;
constexpr size_t FILE_HEADER_BYTES = 24;
constexpr size_t RECORD_HEADER_BYTES = 16;

uint32_t word(const std::vector<uint8_t>& bytes, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, &bytes[at], sizeof value);
  return value;
}

RecordedSegment read_segment(const std::vector<uint8_t>& file, size_t at, Recording& recording, bool first) {
  RecordedSegment segment;
  segment.at = seconds(word(file, at)) + microseconds(word(file, at + 4));
  const size_t kept = word(file, at + 8);
  const uint8_t* frame = &file[at + RECORD_HEADER_BYTES];
  segment.headers.assign(frame, frame + kept);
  // The payload was cut off, so the packet is shorter than it says: read as what an ICMP error quotes is read.
  const bool v6 = load_be16(frame + 12) == static_cast<uint16_t>(EtherType::IPV6);
  IpHeader packet;
  const bool good = parse_quoted_ip(std::span(segment.headers).subspan(EthernetHeader::BYTES), v6, packet) &&
                    packet.protocol == IP_PROTOCOL_TCP && parse_tcp(packet.payload, segment.tcp) == DropReason::NONE &&
                    parse_tcp_options(packet.payload, segment.tcp, segment.options) == DropReason::NONE &&
                    packet.payload.size() == segment.tcp.bytes;
  ASSERT(good);
  segment.tcp_at = kept - segment.tcp.bytes;
  segment.bytes = word(file, at + 12) - static_cast<uint32_t>(kept);
  if (first) {
    ASSERT(segment.tcp.flags & TCP_SYN);
    recording.addresses[0] = packet.source;
    recording.addresses[1] = packet.destination;
    recording.ports[0] = segment.tcp.source_port;
    recording.ports[1] = segment.tcp.destination_port;
  }
  segment.from = packet.source == recording.addresses[0] ? Side::CLIENT : Side::SERVER;
  const auto from = static_cast<size_t>(segment.from);
  ASSERT(packet.source == recording.addresses[from] && segment.tcp.source_port == recording.ports[from] &&
         segment.tcp.destination_port == recording.ports[1 - from]);
  if (segment.has(TCP_SYN)) recording.isns[from] = segment.tcp.seq;
  return segment;
}

}  // namespace

Recording read_recording(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::vector<uint8_t> file{std::istreambuf_iterator<char>(stream), {}};
  ASSERT(file.size() > FILE_HEADER_BYTES && word(file, 0) == MAGIC_MICROSECONDS);
  Recording recording;
  for (size_t at = FILE_HEADER_BYTES; at < file.size(); at += RECORD_HEADER_BYTES + word(file, at + 8)) {
    ASSERT(at + RECORD_HEADER_BYTES <= file.size() && word(file, at + 8) <= file.size() - at - RECORD_HEADER_BYTES);
    recording.segments.push_back(read_segment(file, at, recording, recording.segments.empty()));
  }
  return recording;
}

}  // namespace penstock
