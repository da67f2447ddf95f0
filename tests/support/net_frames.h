// Frames of TcpBench's peer that are no TCP: questions of ARP and neighbour discovery, ICMP.
#pragma once

#include "src/net/wire/icmp.h"
#include "tests/support/net_bytes.h"
#include "tests/support/tcp_bench.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace penstock {

inline std::vector<uint8_t> arp_question(const IpAddress& target) {
  std::vector<uint8_t> frame(EthernetHeader::BYTES + ArpPacket::BYTES);
  write_ethernet(frame.data(), {.destination = MacAddress::broadcast(), .source = TcpBench::PEER_MAC, .type = 0x0806});
  write_arp(&frame[EthernetHeader::BYTES], {.request = true,
                                            .sender_mac = TcpBench::PEER_MAC,
                                            .sender = TcpBench::PEER,
                                            .target_mac = {},
                                            .target = target});
  return frame;
}

inline IpAddress our_v6() {
  IpAddress ours;
  ours.bytes = {0xfd, 1};
  ours.bytes[15] = 1;
  return ours;
}

// For our_v6().
inline std::vector<uint8_t> neighbour_solicitation() {
  const IpAddress ours = our_v6();
  const IpAddress peer = link_local_of(TcpBench::PEER_MAC);
  std::vector<uint8_t> frame(14 + 40 + NeighbourMessage::BYTES);
  write_ethernet(frame.data(),
                 {.destination = multicast_mac(solicited_node(ours)), .source = TcpBench::PEER_MAC, .type = 0x86dd});
  write_ip(&frame[14],
           {.source = peer, .destination = solicited_node(ours), .protocol = IP_PROTOCOL_ICMPV6, .hop_limit = 255},
           NeighbourMessage::BYTES);
  write_ndp(&frame[54], {.solicitation = true, .target = ours, .has_mac = true, .mac = TcpBench::PEER_MAC}, peer,
            solicited_node(ours));
  return frame;
}

// An ICMPv4 message of `hex` and `quoted`, with its checksum.
inline std::vector<uint8_t> icmp_v4(std::string_view hex, std::span<const uint8_t> quoted = {}) {
  std::vector<uint8_t> bytes = from_hex(hex);
  bytes.insert(bytes.end(), quoted.begin(), quoted.end());
  store_be16(&bytes[2], checksum_of(internet_sum(bytes)));
  return bytes;
}

}  // namespace penstock
