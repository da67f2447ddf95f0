#include "perf/load/reflector.h"

#include "src/net/wire/arp.h"
#include "src/net/wire/byte_order.h"
#include "src/net/wire/ip.h"
#include "src/net/wire/tcp_header.h"

#include <cstring>

namespace penstock {
namespace {

constexpr size_t LINK = 14;
constexpr size_t HEADS = LINK + IpHeader::V4_BYTES + TcpHeader::BYTES;
constexpr size_t ROOM = 2'048;
constexpr uint32_t ISS = 1;

std::string prepared(std::string_view body) {
  std::string answer =
      "HTTP/1.1 200 OK\r\nServer: reflector\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain\r\n"
      "Content-Length: " +
      std::to_string(body.size()) +
      "\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nETag: \"00000000-400\"\r\n\r\n";
  return answer.append(body);
}

}  // namespace

Reflector::Reflector(PacketDevice& device, const MacAddress& mac, const IpAddress& own, std::string_view body)
    : device_(device),
      mac_(mac),
      own_(own),
      payload_(prepared(body)),
      payload_sum_(internet_sum({reinterpret_cast<const uint8_t*>(payload_.data()), payload_.size()})),
      rooms_(BURST * ROOM) {
  for (size_t i = 0; i < BURST; ++i) {
    frames_[i].head = &rooms_[i * ROOM];
    std::memcpy(&rooms_[i * ROOM + HEADS], payload_.data(), payload_.size());
  }
}

void Reflector::turn() {
  std::array<RxFrame, BURST> frames;
  const size_t got = device_.rx_burst(frames);
  for (size_t i = 0; i < got; ++i) {
    receive(frames[i]);
    device_.rx_release(frames[i].token);
  }
  if (count_ == 0) return;
  (void)device_.tx_burst({frames_.data(), count_});
  count_ = 0;
}

void Reflector::receive(const RxFrame& frame) {
  if (frame.size < HEADS) return (void)receive_arp(frame);
  if (load_be16(frame.data + 12) != 0x0800) return (void)receive_arp(frame);
  const uint8_t* ip = frame.data + LINK;
  const uint8_t* tcp = ip + IpHeader::V4_BYTES;
  if (ip[0] != 0x45 || ip[9] != IP_PROTOCOL_TCP || load_be32(ip + 16) != own_.v4_value()) return;
  const uint8_t flags = tcp[13];
  const size_t head = size_t{tcp[12]} >> 4 << 2;
  const size_t size = load_be16(ip + 2) - IpHeader::V4_BYTES - head;
  if ((flags & TCP_RST) != 0) return;
  if ((flags & TCP_SYN) != 0) return answer(frame, TCP_SYN | TCP_ACK, false);
  if (size != 0) return answer(frame, TCP_ACK | TCP_PSH, true);
  if ((flags & TCP_FIN) != 0) answer(frame, TCP_FIN | TCP_ACK, false);
}

bool Reflector::receive_arp(const RxFrame& frame) {
  ArpPacket arp;
  if (frame.size < LINK + ArpPacket::BYTES || load_be16(frame.data + 12) != 0x0806) return false;
  if (parse_arp({frame.data + LINK, frame.size - LINK}, arp) != DropReason::NONE || !arp.request || arp.target != own_)
    return false;
  static uint8_t room[LINK + ArpPacket::BYTES];
  write_ethernet(room, {.destination = arp.sender_mac, .source = mac_, .type = 0x0806});
  write_arp(room + LINK,
            {.request = false, .sender_mac = mac_, .sender = own_, .target_mac = arp.sender_mac, .target = arp.sender});
  TxFrame answer;
  answer.head = room;
  answer.head_bytes = sizeof room;
  (void)device_.tx_burst({&answer, 1});
  return true;
}

void Reflector::answer(const RxFrame& frame, uint8_t flags, bool with_payload) {
  uint8_t* out = &rooms_[count_ * ROOM];
  const uint8_t* ip = frame.data + LINK;
  const uint8_t* tcp = ip + IpHeader::V4_BYTES;
  const size_t payload = with_payload ? payload_.size() : 0;
  // Of the request: what its sequence space was.
  const size_t asked = load_be16(ip + 2) - IpHeader::V4_BYTES - (size_t{tcp[12]} >> 4 << 2) +
                       ((tcp[13] & (TCP_SYN | TCP_FIN)) != 0 ? 1 : 0);
  std::memcpy(out, frame.data + 6, 6);
  std::memcpy(out + 6, mac_.bytes.data(), 6);
  store_be16(out + 12, 0x0800);
  const IpHeader header{
      .source = own_, .destination = IpAddress::v4(load_be32(ip + 12)), .protocol = IP_PROTOCOL_TCP, .hop_limit = 64};
  write_ip(out + LINK, header, TcpHeader::BYTES + payload);
  uint8_t* head = out + LINK + IpHeader::V4_BYTES;
  std::memset(head, 0, TcpHeader::BYTES);
  store_be16(head, load_be16(tcp + 2));
  store_be16(head + 2, load_be16(tcp));
  store_be32(head + 4, (tcp[13] & TCP_SYN) != 0 ? ISS : load_be32(tcp + 8));
  store_be32(head + 8, load_be32(tcp + 4) + static_cast<uint32_t>(asked));
  head[12] = TcpHeader::BYTES / 4 << 4;
  head[13] = flags;
  store_be16(head + 14, UINT16_MAX);
  const InternetSum sum = pseudo_header_sum(header.source, header.destination, IP_PROTOCOL_TCP,
                                            static_cast<uint32_t>(TcpHeader::BYTES + payload)) +
                          internet_sum({head, TcpHeader::BYTES}) + (with_payload ? payload_sum_ : InternetSum{});
  store_be16(head + TCP_CHECKSUM_OFFSET, checksum_of(sum));
  frames_[count_].head_bytes = static_cast<uint16_t>(HEADS + payload);
  ++count_;
}

}  // namespace penstock
