#include "src/net/ip_layer.h"

#include "src/net/wire/arp.h"
#include "src/net/wire/byte_order.h"

#include <cstring>

namespace penstock {

IpLayer::IpLayer(const NetConfig& config, PacketDevice& device, IndexPool<SendPiece>& pieces, NetCounters& counters,
                 MonoTime now)
    : addresses_(config.addresses),
      link_local_(link_local_of(config.addresses.mac)),
      device_(device),
      pieces_(pieces),
      counters_(counters),
      features_(device.features()),
      neighbours_(config.secret[0]),
      icmp_limit_(config.limits.replies_per_second, now),
      heads_(BATCH * TxFrame::HEAD_BYTES_MAX),
      echo_(size_t{config.addresses.mtu} + EthernetHeader::BYTES_MAX) {}

bool IpLayer::is_ours(const IpAddress& address) const {
  if (address.is_unspecified()) return false;
  return address == addresses_.v4 || address == addresses_.v6 || address == link_local_;
}

std::optional<IpAddress> IpLayer::local_for(const IpAddress& remote) const {
  const IpAddress local = remote.is_v4() ? addresses_.v4 : remote.is_link_local_v6() ? link_local_ : addresses_.v6;
  return local.is_unspecified() ? std::nullopt : std::optional(local);
}

const IpAddress& IpLayer::next_hop(const IpAddress& remote) const {
  const bool v4 = remote.is_v4();
  const bool on_link = v4 ? remote.same_prefix(addresses_.v4, addresses_.v4_prefix_bits)
                          : remote.is_link_local_v6() || remote.same_prefix(addresses_.v6, addresses_.v6_prefix_bits);
  const IpAddress& gateway = v4 ? addresses_.v4_gateway : addresses_.v6_gateway;
  return on_link || gateway.is_unspecified() ? remote : gateway;
}

std::optional<MacAddress> IpLayer::resolve(const IpAddress& remote, Handle waiter, MonoTime now) {
  return neighbours_.resolve(next_hop(remote), waiter, now);
}

DropReason IpLayer::receive(const RxFrame& frame, MonoTime now, Arrival& arrival) {
  const std::span<const uint8_t> bytes(frame.data, frame.size);
  EthernetHeader link;
  DropReason drop = parse_ethernet(bytes, link);
  if (drop != DropReason::NONE) return drop;
  if (link.destination != addresses_.mac && !link.destination.is_group()) return DropReason::ETHERNET_NOT_OURS;
  if (link.vlan_id != addresses_.vlan_id) return DropReason::VLAN_NOT_OURS;
  const std::span<const uint8_t> payload = bytes.subspan(link.bytes);
  arrival.from = link.source;
  arrival.overheard = frame.overheard || silent_;
  bool v6 = false;
  switch (static_cast<EtherType>(link.type)) {
    case EtherType::ARP:
      arrival.neighbours = true;
      return receive_arp(payload, now, arrival.overheard);
    case EtherType::IPV4:
      drop = parse_ipv4(payload, frame.ip_checksum_good, arrival.packet);
      break;
    case EtherType::IPV6:
      drop = parse_ipv6(payload, arrival.packet);
      v6 = true;
      break;
    default:
      return DropReason::ETHERTYPE_UNKNOWN;
  }
  if (drop != DropReason::NONE) return drop;
  drop = check_addresses(arrival.packet);
  if (drop != DropReason::NONE) return drop;
  if (arrival.packet.protocol == IP_PROTOCOL_TCP) {
    if (link.destination.is_group() || arrival.packet.source.is_unspecified()) return DropReason::TCP_GROUP_ADDRESS;
    if (!is_ours(arrival.packet.destination)) return DropReason::IP_NOT_OURS;
    arrival.kind = Arrival::Kind::TCP;
    return DropReason::NONE;
  }
  if (arrival.packet.protocol != (v6 ? IP_PROTOCOL_ICMPV6 : IP_PROTOCOL_ICMP)) return DropReason::IP_PROTOCOL_UNKNOWN;
  return receive_icmp(now, arrival);
}

// An unspecified source is only a neighbour solicitation's (duplicate address detection); a multicast destination
// likewise.
DropReason IpLayer::check_addresses(const IpHeader& packet) const {
  const IpAddress& source = packet.source;
  const bool icmp6 = packet.protocol == IP_PROTOCOL_ICMPV6;
  if (source.is_multicast() || source.is_loopback() || is_ours(source)) return DropReason::IP_SOURCE;
  if (source.is_v4() && (source.bytes[12] == 0 || source.bytes[12] >= 240)) return DropReason::IP_SOURCE;
  if (source.is_unspecified() && !icmp6) return DropReason::IP_SOURCE;
  if (is_ours(packet.destination)) return DropReason::NONE;
  const bool group_of_ours = icmp6 && (packet.destination == solicited_node(link_local_) ||
                                       packet.destination == solicited_node(addresses_.v6));
  return group_of_ours ? DropReason::NONE : DropReason::IP_NOT_OURS;
}

DropReason IpLayer::receive_arp(std::span<const uint8_t> bytes, MonoTime now, bool overheard) {
  ArpPacket arp;
  const DropReason drop = parse_arp(bytes, arp);
  if (drop != DropReason::NONE) return drop;
  if (is_ours(arp.sender) || arp.sender.is_multicast()) return DropReason::ARP_NOT_OURS;
  if (arp.sender == arp.target &&
      !arp.sender.is_unspecified()) {  // an announcement (RFC 5227 section 3): of use to who waits
    neighbours_.learn(arp.sender, arp.sender_mac, false, now);
    return DropReason::NONE;
  }
  if (!is_ours(arp.target)) return DropReason::ARP_NOT_OURS;
  // RFC 826: who asks us is somebody we shall speak to. A probe (RFC 5227) comes from 0.0.0.0 and says nothing of its
  // sender.
  if (!arp.sender.is_unspecified()) neighbours_.learn(arp.sender, arp.sender_mac, arp.request, now);
  if (!arp.request || overheard) return DropReason::NONE;
  uint8_t* room = nullptr;
  TxFrame& frame = add_frame(room);
  const size_t link = write_link(room, arp.sender_mac, EtherType::ARP);
  write_arp(room + link, {.request = false,
                          .sender_mac = addresses_.mac,
                          .sender = arp.target,
                          .target_mac = arp.sender_mac,
                          .target = arp.sender});
  frame.head_bytes = static_cast<uint16_t>(link + ArpPacket::BYTES);
  ++counters_.neighbour_answers;
  return DropReason::NONE;
}

DropReason IpLayer::receive_icmp(MonoTime now, Arrival& arrival) {
  const DropReason drop = parse_icmp(arrival.packet, arrival.icmp);
  if (drop != DropReason::NONE) return drop;
  switch (arrival.icmp.kind) {
    case IcmpKind::NEIGHBOUR:
      arrival.neighbours = true;
      return receive_neighbour(now, arrival);
    case IcmpKind::ECHO_REQUEST:
      if (shared_ || !is_ours(arrival.packet.destination) || arrival.packet.source.is_unspecified())
        return DropReason::ICMP_IGNORED;
      if (silent_) return DropReason::LEFT_TO_ANOTHER;
      if (!icmp_limit_.allow(now)) return DropReason::ICMP_RATE;
      answer_echo(arrival);
      return DropReason::NONE;
    case IcmpKind::OTHER:
      return DropReason::ICMP_IGNORED;
    default:
      arrival.kind = Arrival::Kind::ICMP_ERROR;
      return DropReason::NONE;
  }
}

DropReason IpLayer::receive_neighbour(MonoTime now, Arrival& arrival) {
  NeighbourMessage message;
  const DropReason drop = parse_ndp(arrival.packet, message);
  if (drop != DropReason::NONE) return drop;
  if (!message.solicitation) {
    if (!message.has_mac || is_ours(message.target)) return DropReason::NDP_NOT_OURS;
    neighbours_.learn(message.target, message.mac, false, now);
    return DropReason::NONE;
  }
  if (!is_ours(message.target)) return DropReason::NDP_NOT_OURS;
  const bool probe = arrival.packet.source.is_unspecified();  // answered to all nodes (RFC 4861 section 7.2.4)
  IpAddress to = arrival.packet.source;
  if (probe) to.bytes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  if (!probe && message.has_mac) neighbours_.learn(to, message.mac, true, now);
  if (arrival.overheard) return DropReason::NONE;
  uint8_t answer[NeighbourMessage::BYTES];
  write_ndp(answer,
            {.solicitation = false,
             .solicited = !probe,
             .override_old = true,
             .target = message.target,
             .has_mac = true,
             .mac = addresses_.mac},
            message.target, to);
  send(probe             ? multicast_mac(to)
       : message.has_mac ? message.mac
                         : arrival.from,
       {.source = message.target, .destination = to, .protocol = IP_PROTOCOL_ICMPV6, .hop_limit = 255}, answer, {});
  ++counters_.neighbour_answers;
  return DropReason::NONE;
}

// To where it came from: a stranger's question is not worth a question of ours.
void IpLayer::answer_echo(const Arrival& arrival) {
  const IpHeader& packet = arrival.packet;
  const bool v6 = !packet.source.is_v4();
  const size_t link = write_link(echo_.data(), arrival.from, v6 ? EtherType::IPV6 : EtherType::IPV4);
  const size_t ip_bytes = v6 ? IpHeader::V6_BYTES : IpHeader::V4_BYTES;
  if (link + ip_bytes + packet.payload.size() > echo_.size()) return;
  write_ip(&echo_[link],
           {.source = packet.destination, .destination = packet.source, .protocol = packet.protocol, .hop_limit = 64},
           packet.payload.size());
  const std::span<uint8_t> message = std::span(echo_).subspan(link + ip_bytes, packet.payload.size());
  std::memcpy(message.data(), packet.payload.data(), message.size());
  make_echo_reply(message, v6);
  uint8_t* room = nullptr;
  TxFrame& frame = add_frame(room);
  frame.head = echo_.data();
  frame.head_bytes = static_cast<uint16_t>(link + ip_bytes + message.size());
  ++counters_.echo_replies;
  flush();  // there is one such room; while frames come in, no frame of the batch refers to payload
}

void IpLayer::ask_neighbours(MonoTime now) {
  if (neighbours_.next_request() > now) [[likely]]
    return;
  std::array<IpAddress, 16> due;
  const size_t count = neighbours_.due_requests(due, now, counters_.neighbours_lost);
  for (size_t i = 0; i < count; ++i) ask_for(due[i]);
}

void IpLayer::ask_for(const IpAddress& ip) {
  ++counters_.neighbour_requests;
  if (ip.is_v4()) {
    uint8_t* room = nullptr;
    TxFrame& frame = add_frame(room);
    const size_t link = write_link(room, MacAddress::broadcast(), EtherType::ARP);
    write_arp(room + link,
              {.request = true, .sender_mac = addresses_.mac, .sender = addresses_.v4, .target_mac = {}, .target = ip});
    frame.head_bytes = static_cast<uint16_t>(link + ArpPacket::BYTES);
    return;
  }
  const IpAddress source = ip.is_link_local_v6() || addresses_.v6.is_unspecified() ? link_local_ : addresses_.v6;
  const IpAddress group = solicited_node(ip);
  uint8_t question[NeighbourMessage::BYTES];
  write_ndp(question, {.solicitation = true, .target = ip, .has_mac = true, .mac = addresses_.mac}, source, group);
  send(multicast_mac(group), {.source = source, .destination = group, .protocol = IP_PROTOCOL_ICMPV6, .hop_limit = 255},
       question, {});
}

void IpLayer::announce() {
  if (!addresses_.v4.is_unspecified()) {
    uint8_t* room = nullptr;
    TxFrame& frame = add_frame(room);
    const size_t link = write_link(room, MacAddress::broadcast(), EtherType::ARP);
    write_arp(room + link, {.request = true,
                            .sender_mac = addresses_.mac,
                            .sender = addresses_.v4,
                            .target_mac = {},
                            .target = addresses_.v4});
    frame.head_bytes = static_cast<uint16_t>(link + ArpPacket::BYTES);
  }
  IpAddress all_nodes;
  all_nodes.bytes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  for (const IpAddress& ours : {addresses_.v6, link_local_}) {
    if (ours.is_unspecified() || addresses_.v6.is_unspecified()) continue;
    uint8_t message[NeighbourMessage::BYTES];
    write_ndp(message,
              {.solicitation = false, .override_old = true, .target = ours, .has_mac = true, .mac = addresses_.mac},
              ours, all_nodes);
    send(multicast_mac(all_nodes),
         {.source = ours, .destination = all_nodes, .protocol = IP_PROTOCOL_ICMPV6, .hop_limit = 255}, message, {});
  }
}

size_t IpLayer::write_link(uint8_t* out, const MacAddress& to, EtherType type) const {
  return write_ethernet(out, {.destination = to,
                              .source = addresses_.mac,
                              .type = static_cast<uint16_t>(type),
                              .vlan_id = addresses_.vlan_id});
}

TxFrame& IpLayer::add_frame(uint8_t*& room) {
  if (frame_count_ == BATCH) flush();
  room = &heads_[frame_count_ * TxFrame::HEAD_BYTES_MAX];
  TxFrame& frame = frames_[frame_count_++];
  frame.head = room;
  frame.part_count = 0;
  frame.fill_ip_checksum = frame.fill_tcp_checksum = false;
  frame.segment_bytes = 0;
  return frame;
}

void IpLayer::send(const MacAddress& to, const IpHeader& header, std::span<const uint8_t> head,
                   const Payload& payload) {
  uint8_t* room = nullptr;
  TxFrame& frame = add_frame(room);
  const bool v4 = header.source.is_v4();
  size_t bytes = head.size();
  for (const TxPart& part : payload.parts) {
    frame.parts[frame.part_count++] = part;
    bytes += part.size;
    if (!features_.copies_payload) ++pieces_[part.hold].device_holds;
  }
  const size_t link = write_link(room, to, v4 ? EtherType::IPV4 : EtherType::IPV6);
  frame.segment_bytes = payload.segment_bytes;
  frame.fill_ip_checksum = v4 && (features_.tx_ip_checksum || payload.segment_bytes != 0);
  const size_t ip = write_ip(room + link, header, bytes, frame.fill_ip_checksum);
  std::memcpy(room + link + ip, head.data(), head.size());
  frame.ip_offset = static_cast<uint8_t>(link);
  frame.tcp_offset = static_cast<uint8_t>(link + ip);
  frame.fill_tcp_checksum = payload.sum_later;
  frame.head_bytes = static_cast<uint16_t>(link + ip + head.size());
}

void IpLayer::flush() {
  if (frame_count_ == 0) return;
  const size_t taken = device_.tx_burst({frames_.data(), frame_count_});
  counters_.frames_sent += taken;
  counters_.frames_refused += frame_count_ - taken;
  if (!features_.copies_payload) {
    for (size_t i = taken; i < frame_count_; ++i) {
      for (size_t part = 0; part < frames_[i].part_count; ++part) --pieces_[frames_[i].parts[part].hold].device_holds;
    }
  }
  frame_count_ = 0;
  device_full_ = !device_.tx_ready();
}

size_t IpLayer::collect_done(std::span<uint32_t> pieces) {
  size_t free = 0;
  // A large piece is in more frames than one call names: on until one is free, or the device has no more to say.
  while (free == 0) {
    const size_t count = device_.tx_done(pieces);
    if (count == 0) break;
    for (size_t i = 0; i < count; ++i) {
      if (--pieces_[pieces[i]].device_holds == 0) pieces[free++] = pieces[i];
    }
  }
  return free;
}

}  // namespace penstock
