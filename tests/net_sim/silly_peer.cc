#include "tests/net_sim/silly_peer.h"

#include "src/base/assert.h"
#include "src/net/seq_num.h"
#include "src/net/wire/byte_order.h"
#include "src/net/wire/checksum.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr size_t REMEMBERED = 8;           // segments of a stream
constexpr uint32_t SANE_SEGMENTS = 6;      // segments until the window is shut, or nothing comes any more
constexpr uint8_t URGENT_AT = 18;          // in the header
constexpr uint32_t FLIGHT_MAX = 1U << 20;  // bytes; a window is less
constexpr uint32_t STORM_MAX = 12;         // copies of an ACK
constexpr size_t BYTES_MAX = 40;           // of a segment, one by one; the rest goes as it was

}  // namespace

bool SillyPeer::does(Silliness one, uint32_t one_in) {
  if ((silliness_ & one) == 0 || !prng_.one_in(one_in)) return false;
  ++deeds_;
  return true;
}

bool SillyPeer::parse(std::span<const uint8_t> frame, Segment& out) {
  if (parse_ethernet(frame, out.link) != DropReason::NONE) return false;
  const std::span<const uint8_t> packet = frame.subspan(out.link.bytes);
  const auto type = static_cast<EtherType>(out.link.type);
  if (type != EtherType::IPV4 && type != EtherType::IPV6) return false;
  const DropReason drop = type == EtherType::IPV4 ? parse_ipv4(packet, false, out.ip) : parse_ipv6(packet, out.ip);
  if (drop != DropReason::NONE || out.ip.protocol != 6) return false;
  if (parse_tcp(out.ip.payload, out.header) != DropReason::NONE) return false;
  if (parse_tcp_options(out.ip.payload, out.header, out.options) != DropReason::NONE) return false;
  out.data.assign(out.ip.payload.begin() + out.header.bytes, out.ip.payload.end());
  return true;
}

size_t SillyPeer::rx_burst(std::span<RxFrame> out) {
  const size_t got = wire_.rx_burst(out);
  size_t count = 0;
  for (size_t i = 0; i < got; ++i) {
    Segment segment;
    if (parse({out[i].data, out[i].size}, segment)) {
      Stream& stream = streams_[segment.header.destination_port];
      const uint32_t end = segment.header.seq + static_cast<uint32_t>(segment.data.size());
      if (!stream.begun || SeqNum{end} > SeqNum{stream.heard}) stream.heard = end;
      stream.begun = true;
      if (segment.has(TCP_FIN) && does(IGNORES_FIN, 1)) {
        wire_.rx_release(out[i].token);
        continue;
      }
    }
    out[count++] = out[i];
  }
  return count;
}

size_t SillyPeer::tx_burst(std::span<const TxFrame> frames) {
  for (const TxFrame& frame : frames) {
    std::vector<uint8_t> bytes(frame.head, frame.head + frame.head_bytes);
    for (size_t i = 0; i < frame.part_count; ++i)
      bytes.insert(bytes.end(), frame.parts[i].data, frame.parts[i].data + frame.parts[i].size);
    Segment segment;
    if (silliness_ != 0 && parse(bytes, segment)) {
      pass_on(std::move(segment));
    } else {
      put_frame(bytes);
    }
  }
  return frames.size();
}

void SillyPeer::put_frame(std::span<const uint8_t> frame) {
  ASSERT(frame.size() <= UINT16_MAX);
  const TxFrame out{.head = frame.data(), .head_bytes = static_cast<uint16_t>(frame.size())};
  (void)wire_.tx_burst({&out, 1});
}

// With checksums as they should be: what is wrong with it is nothing that these would find.
void SillyPeer::put(Segment segment) {
  std::vector<uint8_t> bytes(EthernetHeader::BYTES_MAX + IpHeader::V6_BYTES + TcpHeader::BYTES_MAX);
  uint8_t head[TcpHeader::BYTES_MAX];
  const size_t head_bytes = write_tcp(head, segment.header, segment.options);
  if (segment.urgent) store_be16(head + URGENT_AT, static_cast<uint16_t>(prng_.next()));
  size_t at = write_ethernet(bytes.data(), segment.link);
  at += write_ip(&bytes[at], segment.ip, head_bytes + segment.data.size());
  bytes.resize(at);
  bytes.insert(bytes.end(), head, head + head_bytes);
  bytes.insert(bytes.end(), segment.data.begin(), segment.data.end());
  const std::span<const uint8_t> tcp = std::span(bytes).subspan(at);
  const InternetSum sum =
      pseudo_header_sum(segment.ip.source, segment.ip.destination, 6, static_cast<uint32_t>(tcp.size())) +
      internet_sum(tcp);
  store_be16(&bytes[at + TCP_CHECKSUM_OFFSET], checksum_of(sum));
  put_frame(bytes);
}

void SillyPeer::pass_on(Segment segment) {
  Stream& stream = streams_[segment.header.source_port];
  if (segment.has(TCP_SYN) && !segment.has(TCP_ACK)) stream = {};
  if (!segment.has(TCP_SYN | TCP_RST)) {
    ++stream.segments;
    const uint32_t end =
        segment.header.seq + static_cast<uint32_t>(segment.data.size()) + (segment.has(TCP_FIN) ? 1 : 0);
    if (stream.sent.empty() || SeqNum{end} > SeqNum{stream.snd_max}) stream.snd_max = end;
    stream.fin_sent |= segment.has(TCP_FIN);
    if (stream.segments > 1) {  // a connection that is not yet there ends by much of this, as it should
      change(segment, stream);
      add(segment, stream);
    }
    stream.told = segment.header.ack;
    stream.window = segment.header.window;
    if (stream.sent.size() == REMEMBERED) stream.sent.pop_front();
    stream.sent.push_back(segment);
    if (stream.segments > SANE_SEGMENTS && does(FALLS_SILENT, 1)) return;
    if (!segment.data.empty() && does(BYTE_BY_BYTE, 2)) {
      Segment one = segment;
      one.header.flags &= static_cast<uint8_t>(~(TCP_FIN | TCP_PSH));
      for (size_t i = 0; i < std::min<size_t>(segment.data.size(), BYTES_MAX); ++i) {
        one.data = {segment.data[i]};
        put(one);
        ++one.header.seq;
      }
    }
  }
  put(std::move(segment));
}

// The segment itself becomes another.
void SillyPeer::change(Segment& segment, Stream& stream) {
  TcpHeader& header = segment.header;
  if (does(SHRINKS_WINDOW, 3))
    header.window = static_cast<uint16_t>(prng_.one_in(4) ? 0 : header.window >> prng_.below(8));
  if (stream.segments > SANE_SEGMENTS && does(SHUTS_WINDOW, 1)) header.window = 0;
  if (does(ACKS_IN_THE_MIDDLE, 3) && stream.segments > 2) {
    // Between the last one told and this one; or an old one.
    const uint32_t step = header.ack - stream.told;
    header.ack = step != 0 && step < 1U << 30 ? header.ack - prng_.below(step) : header.ack - prng_.below(3'000);
  }
  if (does(ACKS_UNRECEIVED, 3) && SeqNum{stream.heard} > SeqNum{header.ack}) header.ack = stream.heard;
  if (segment.options.has_timestamps && does(TIME_GOES_BACK, 4)) {
    if (prng_.one_in(2)) segment.options.ts_val -= 1U << prng_.below(31);
    segment.options.ts_ecr = prng_.one_in(2) ? static_cast<uint32_t>(prng_.next()) : segment.options.ts_ecr - 1;
  }
  if (does(URGENT, 3)) {
    header.flags |= TCP_URG;
    segment.urgent = true;
  }
  if (segment.data.empty() && does(FORGETS_SACKS, 2)) segment.options.sack_count = 0;
  if (segment.data.empty() && does(INVENTS_SACKS, 2)) {
    for (segment.options.sack_count = 0; segment.options.sack_count < 3; ++segment.options.sack_count) {
      const uint32_t left = header.ack + prng_.below(20'000) - 2'000;
      segment.options.sacks[segment.options.sack_count] = {left, left + prng_.below(6'000) - 500};
    }
  }
}

// Others come before it.
void SillyPeer::add(const Segment& segment, Stream& stream) {
  const auto control = [&](uint8_t flags, uint32_t seq, uint32_t ack) {
    Segment out = segment;
    out.data.clear();
    out.header.flags = flags;
    out.header.seq = seq;
    out.header.ack = ack;
    put(std::move(out));
  };
  const uint32_t next = stream.snd_max;
  // Beyond all that may be on its way.
  if (does(ACKS_UNSENT, 3)) control(TCP_ACK, next, stream.heard + (FLIGHT_MAX << prng_.below(10)));
  if (does(RESETS_IN_WINDOW, 4)) control(TCP_RST, next + 1 + prng_.below(60'000), 0);
  if (does(SYNS_IN_WINDOW, 4)) control(TCP_SYN, next + prng_.below(60'000), 0);
  if (segment.data.empty() && segment.header.flags == TCP_ACK && does(STORMS, 2)) {
    for (uint32_t left = 3 + prng_.below(STORM_MAX); left != 0; --left) put(segment);
  }
  if (stream.fin_sent && does(SENDS_BEYOND_FIN, 1)) {
    Segment out = segment;
    out.data.assign(1 + prng_.below(300), 0xee);
    out.header.flags = TCP_ACK;
    out.header.seq = next + (prng_.one_in(2) ? 0 : prng_.below(500));
    put(std::move(out));
  }
  if (!stream.sent.empty() && does(OVERLAPS_OTHERWISE, 2)) {
    Segment out = stream.sent[prng_.below(static_cast<uint32_t>(stream.sent.size()))];
    for (uint8_t& byte : out.data) byte = static_cast<uint8_t>(~byte);
    const size_t skip = out.data.empty() ? 0 : prng_.below(static_cast<uint32_t>(out.data.size()));
    out.data.erase(out.data.begin(), out.data.begin() + static_cast<ptrdiff_t>(skip));
    out.header.seq += static_cast<uint32_t>(skip);
    out.header.flags = TCP_ACK;
    if (!out.data.empty()) put(std::move(out));
  }
}

}  // namespace penstock
