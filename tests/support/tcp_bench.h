// TcpBench: one engine, and a test in the place of the wire and of the peer: segments in, segments out, one at a time.
#pragma once

#include "src/net/net_stack.h"
#include "src/net/wire/arp.h"
#include "src/net/wire/byte_order.h"

#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace penstock {

struct SentSegment {
  TcpHeader header;
  TcpOptions options;
  std::string data;
  const uint8_t* memory = nullptr;  // of the first part: where the payload lies
  uint16_t segment_bytes = 0;       // the port is to cut it (TxFrame)

  [[nodiscard]] bool has(uint8_t bits) const { return (header.flags & bits) == bits; }
};

class ScriptDevice final : public PacketDevice {
 public:
  [[nodiscard]] DeviceFeatures features() const override { return device_features; }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override {
    size_t count = 0;
    for (; count < out.size() && !incoming.empty(); ++count) {
      std::vector<uint8_t>& frame = lent[++last_token];
      frame = std::move(incoming.front());
      incoming.pop_front();
      out[count] = {.data = frame.data(),
                    .size = static_cast<uint32_t>(frame.size()),
                    .token = last_token,
                    .overheard = overheard};
    }
    return count;
  }
  void rx_release(uint32_t token) override { ASSERT(lent.erase(token) == 1); }
  [[nodiscard]] bool tx_ready() override { return room != 0; }
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override {
    const size_t most = room == 0 ? 0 : takes_max;
    const size_t taken = frames.size() < most ? frames.size() : most;
    for (const TxFrame& frame : frames.first(taken)) {
      Sent one;
      one.bytes.assign(frame.head, frame.head + frame.head_bytes);
      one.segment_bytes = frame.segment_bytes;
      one.fill_ip_checksum = frame.fill_ip_checksum;
      one.fill_tcp_checksum = frame.fill_tcp_checksum;
      for (size_t i = 0; i < frame.part_count; ++i) {
        if (i == 0) one.memory = frame.parts[0].data;
        one.bytes.insert(one.bytes.end(), frame.parts[i].data, frame.parts[i].data + frame.parts[i].size);
        held.push_back(frame.parts[i].hold);
      }
      sent.push_back(std::move(one));
      if (room != 0 && room != SIZE_MAX) --room;
    }
    return taken;
  }
  [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override {
    if (keeps_holds || device_features.copies_payload) return 0;
    size_t count = 0;
    while (count < holds.size() && !held.empty()) {
      holds[count++] = held.back();
      held.pop_back();
    }
    return count;
  }

  struct Sent {
    std::vector<uint8_t> bytes;
    const uint8_t* memory = nullptr;
    uint16_t segment_bytes = 0;
    bool fill_ip_checksum = false;
    bool fill_tcp_checksum = false;
  };
  DeviceFeatures device_features;
  bool keeps_holds = false;  // the card is slow
  bool overheard = false;    // what comes in
  size_t takes_max = SIZE_MAX;
  size_t room = SIZE_MAX;  // frames until it is full: then it takes none
  std::deque<std::vector<uint8_t>> incoming;
  std::map<uint32_t, std::vector<uint8_t>> lent;
  std::vector<Sent> sent;
  std::vector<uint32_t> held;
  uint32_t last_token = 0;
};

class TcpBench {
 public:
  static constexpr uint16_t PORT = 80;
  static constexpr uint32_t PEER_ISN = 5'000;
  static inline const IpAddress OURS = IpAddress::v4(10, 0, 0, 1);
  static inline const IpAddress PEER = IpAddress::v4(10, 0, 0, 2);
  static constexpr MacAddress OUR_MAC = {{2, 0, 0, 0, 0, 1}};
  static constexpr MacAddress PEER_MAC = {{2, 0, 0, 0, 0, 2}};

  static NetConfig default_config() {
    NetConfig config;
    config.addresses.mac = OUR_MAC;
    config.addresses.v4 = OURS;
    config.addresses.v6.bytes = {0xfd, 1};
    config.addresses.v6.bytes[15] = 1;
    config.limits.connections_max = 16;
    config.limits.half_open_max = 8;
    config.limits.send_pieces_max = 64;
    config.limits.receive_holds_max = 64;
    config.limits.holds_per_connection_max = 32;
    config.limits.scoreboards_max = 4;
    config.limits.receive_window_bytes = 60'000;
    config.secret = {11, 22};
    return config;
  }

  explicit TcpBench(const NetConfig& config = default_config(), DeviceFeatures features = {}) {
    device.device_features = features;
    stack = std::make_unique<NetStack>(config, device, now);
    ASSERT(stack->listen(PORT, 7));
    introduce();
  }

  // The peer asks for our MAC address, so we know its.
  void introduce() {
    std::vector<uint8_t> frame(EthernetHeader::BYTES + ArpPacket::BYTES);
    write_ethernet(frame.data(), {.destination = MacAddress::broadcast(), .source = PEER_MAC, .type = 0x0806});
    write_arp(&frame[EthernetHeader::BYTES],
              {.request = true, .sender_mac = PEER_MAC, .sender = PEER, .target_mac = {}, .target = OURS});
    put(frame);
    device.sent.clear();
  }

  // Frames in, the engine's turn.
  void put(std::vector<uint8_t> frame) {
    device.incoming.push_back(std::move(frame));
    turn();
  }
  void turn() {
    NetEvent batch[32];
    size_t count = 0;
    do {
      count = stack->poll(now, batch);
      events.insert(events.end(), batch, batch + count);
    } while (count != 0);
  }
  void pass(Duration by) {
    // Timers fire in their order, as they would.
    const MonoTime until = now + by;
    for (MonoTime next = stack->next_deadline(); next <= until; next = stack->next_deadline()) {
      now = next > now ? next : now;
      turn();
    }
    now = until;
    turn();
  }

  std::vector<uint8_t> ip_frame(uint8_t protocol, std::span<const uint8_t> payload) const {
    std::vector<uint8_t> frame(EthernetHeader::BYTES + IpHeader::V4_BYTES);
    write_ethernet(frame.data(), {.destination = OUR_MAC, .source = PEER_MAC, .type = 0x0800});
    write_ip(&frame[EthernetHeader::BYTES],
             {.source = PEER, .destination = OURS, .protocol = protocol, .hop_limit = 64}, payload.size());
    frame.insert(frame.end(), payload.begin(), payload.end());
    return frame;
  }
  std::vector<uint8_t> segment(uint8_t flags, uint32_t seg_seq, uint32_t seg_ack, std::string_view data = {},
                               TcpOptions options = {}, uint16_t to = PORT) const {
    TcpHeader header{.source_port = peer_port,
                     .destination_port = to,
                     .seq = seg_seq,
                     .ack = seg_ack,
                     .flags = flags,
                     .window = window};
    std::vector<uint8_t> bytes(TcpHeader::BYTES_MAX);
    bytes.resize(write_tcp(bytes.data(), header, options));
    bytes.insert(bytes.end(), data.begin(), data.end());
    const InternetSum sum =
        pseudo_header_sum(PEER, OURS, IP_PROTOCOL_TCP, static_cast<uint32_t>(bytes.size())) + internet_sum(bytes);
    store_be16(&bytes[TCP_CHECKSUM_OFFSET], checksum_of(sum));
    return ip_frame(IP_PROTOCOL_TCP, bytes);
  }
  void in(uint8_t flags, uint32_t seg_seq, uint32_t seg_ack, std::string_view data = {}, const TcpOptions& options = {},
          uint16_t to = PORT) {
    put(segment(flags, seg_seq, seg_ack, data, options, to));
  }

  // What was sent since the last call; checksums are checked.
  std::vector<SentSegment> out() {
    std::vector<SentSegment> segments;
    for (const ScriptDevice::Sent& frame : device.sent) {
      IpHeader packet;
      SentSegment one;
      const std::span<const uint8_t> ip = std::span(frame.bytes).subspan(EthernetHeader::BYTES);
      if (parse_ipv4(ip, frame.fill_ip_checksum, packet) != DropReason::NONE) continue;
      if (packet.protocol != IP_PROTOCOL_TCP) continue;
      const auto size = static_cast<uint32_t>(packet.payload.size());
      if (frame.fill_tcp_checksum) {
        const InternetSum head =
            pseudo_header_sum(packet.source, packet.destination, IP_PROTOCOL_TCP, frame.segment_bytes != 0 ? 0 : size);
        ASSERT(load_be16(&packet.payload[TCP_CHECKSUM_OFFSET]) == head.value);
      } else {
        const InternetSum head = pseudo_header_sum(packet.source, packet.destination, IP_PROTOCOL_TCP, size);
        ASSERT(checksum_good(head + internet_sum(packet.payload)));
      }
      if (frame.fill_ip_checksum) ASSERT(load_be16(&ip[10]) == 0);
      ASSERT(parse_tcp(packet.payload, one.header) == DropReason::NONE);
      ASSERT(parse_tcp_options(packet.payload, one.header, one.options) == DropReason::NONE);
      one.data.assign(packet.payload.begin() + one.header.bytes, packet.payload.end());
      one.memory = frame.memory;
      one.segment_bytes = frame.segment_bytes;
      segments.push_back(one);
    }
    device.sent.clear();
    return segments;
  }

  // Three-way handshake; leaves the owner's handle in `conn`, RCV.NXT and SND.UNA as the peer sees them in `seq` and
  // `ack`.
  void establish(const TcpOptions& options = {.mss = 1'000}) {
    in(TCP_SYN, PEER_ISN, 0, {}, options);
    const std::vector<SentSegment> answer = out();
    ASSERT(answer.size() == 1 && answer[0].has(TCP_SYN | TCP_ACK));
    seq = PEER_ISN + 1;
    ack = answer[0].header.seq + 1;
    TcpOptions later;
    later.has_timestamps = options.has_timestamps;
    later.ts_val = options.ts_val;
    later.ts_ecr = answer[0].options.ts_val;
    in(TCP_ACK, seq, ack, {}, later);
    ASSERT(!events.empty() && events.back().kind == NetEventKind::ACCEPTED);
    conn = events.back().conn;
    events.clear();
    device.sent.clear();
  }
  // Sends from memory that lives as long as the bench; the engine's turn.
  void send(std::string text, uint64_t token = 1) {
    memory.push_back(std::make_unique<std::string>(std::move(text)));
    const NetPart part{.data = memory.back()->data(), .size = static_cast<uint32_t>(memory.back()->size())};
    ASSERT(stack->send(conn, {&part, 1}, token));
    stack->submit();
  }
  // The kinds of all events since the last call, and the bytes received; buffers are released.
  std::string told() {
    static constexpr const char* NAMES[] = {"accepted", "connected", "received", "peer-closed",
                                            "sent",     "failed",    "closed"};
    std::string text;
    for (const NetEvent& event : events) {
      text += (text.empty() ? "" : " ") + std::string(NAMES[static_cast<size_t>(event.kind)]);
      if (event.kind != NetEventKind::RECEIVED) continue;
      text += ":" + std::string(reinterpret_cast<const char*>(event.data), event.size);
      stack->release(event.buffer);
    }
    events.clear();
    return text;
  }
  [[nodiscard]] uint64_t dropped(DropReason reason) const { return stack->counters().dropped(reason); }

  MonoTime now = {1'000'000'000'000};
  ScriptDevice device;
  std::unique_ptr<NetStack> stack;
  std::vector<NetEvent> events;
  std::vector<std::unique_ptr<std::string>> memory;
  Handle conn;
  uint32_t seq = 0;
  uint32_t ack = 0;
  uint16_t window = 60'000;
  uint16_t peer_port = 40'000;
};

}  // namespace penstock
