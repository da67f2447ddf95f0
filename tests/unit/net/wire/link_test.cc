#include "src/net/wire/arp.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/icmp.h"
#include "src/net/wire/ndp.h"
#include "tests/support/net_bytes.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr MacAddress ONE = {{2, 0, 0, 0, 0, 1}};
constexpr MacAddress TWO = {{2, 0, 0, 0, 0, 2}};

DropReason ethernet(std::string_view hex, EthernetHeader& header) {
  const GuardedBytes bytes(from_hex(hex));
  return parse_ethernet(bytes.span(), header);
}

TEST(Ethernet, reads_plain_and_tagged_frames) {
  EthernetHeader header;
  ASSERT_EQ(ethernet("020000000001 020000000002 0800", header), DropReason::NONE);
  EXPECT_EQ(header.destination, ONE);
  EXPECT_EQ(header.source, TWO);
  EXPECT_EQ(header.type, 0x0800);
  EXPECT_EQ(header.bytes, 14);
  EXPECT_EQ(header.vlan_id, 0);
  ASSERT_EQ(ethernet("020000000001 020000000002 8100 6123 86dd", header), DropReason::NONE);
  EXPECT_EQ(header.vlan_id, 0x123);
  EXPECT_EQ(header.type, 0x86dd);
  EXPECT_EQ(header.bytes, 18);
  ASSERT_EQ(ethernet("020000000001 020000000002 88a8 0064 8100 0065 0806", header), DropReason::NONE);
  EXPECT_EQ(header.vlan_id, 0x65);
  EXPECT_EQ(header.type, 0x0806);
  EXPECT_EQ(header.bytes, 22);
}

TEST(Ethernet, refuses_frames_that_end_in_their_header) {
  EthernetHeader header;
  EXPECT_EQ(ethernet("", header), DropReason::FRAME_SHORT);
  EXPECT_EQ(ethernet("020000000001 020000000002 08", header), DropReason::FRAME_SHORT);
  EXPECT_EQ(ethernet("020000000001 020000000002 8100 0001 08", header), DropReason::FRAME_SHORT);
}

TEST(Ethernet, a_third_tag_is_an_unknown_type) {
  EthernetHeader header;
  ASSERT_EQ(ethernet("020000000001 020000000002 8100 0001 8100 0002 8100 0003 0800", header), DropReason::NONE);
  EXPECT_EQ(header.type, 0x8100);
}

TEST(Ethernet, writes_what_it_reads) {
  for (const uint16_t vlan : {uint16_t{0}, uint16_t{7}}) {
    uint8_t out[EthernetHeader::BYTES_MAX];
    EthernetHeader header{.destination = ONE, .source = TWO, .type = 0x86dd, .vlan_id = vlan};
    const size_t size = write_ethernet(out, header);
    EthernetHeader again;
    ASSERT_EQ(parse_ethernet({out, size}, again), DropReason::NONE);
    EXPECT_EQ(again.bytes, size);
    EXPECT_EQ(again.vlan_id, vlan);
    EXPECT_EQ(again.destination, ONE);
    EXPECT_EQ(again.type, 0x86dd);
  }
}

constexpr const char* ARP_REQUEST = "0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002";

TEST(Arp, rfc826_request_and_reply) {
  ArpPacket packet;
  ASSERT_EQ(parse_arp(from_hex(ARP_REQUEST), packet), DropReason::NONE);
  EXPECT_TRUE(packet.request);
  EXPECT_EQ(packet.sender_mac, ONE);
  EXPECT_EQ(packet.sender, IpAddress::v4(10, 0, 0, 1));
  EXPECT_EQ(packet.target, IpAddress::v4(10, 0, 0, 2));
  uint8_t out[ArpPacket::BYTES];
  write_arp(out,
            {.request = false, .sender_mac = TWO, .sender = packet.target, .target_mac = ONE, .target = packet.sender});
  ASSERT_EQ(parse_arp(out, packet), DropReason::NONE);
  EXPECT_FALSE(packet.request);
  EXPECT_EQ(packet.sender_mac, TWO);
}

TEST(Arp, refuses_what_is_not_ethernet_and_ipv4) {
  ArpPacket packet;
  const std::vector<uint8_t> good = from_hex(ARP_REQUEST);
  for (size_t i = 0; i < 7; ++i) {
    std::vector<uint8_t> bad = good;
    bad[i] ^= 0x40;
    EXPECT_EQ(parse_arp(bad, packet), DropReason::ARP_MALFORMED) << i;
  }
  std::vector<uint8_t> third = good;
  third[7] = 3;
  EXPECT_EQ(parse_arp(third, packet), DropReason::ARP_MALFORMED);
  std::vector<uint8_t> group = good;
  group[8] = 3;
  EXPECT_EQ(parse_arp(group, packet), DropReason::ARP_MALFORMED);
  const GuardedBytes shorter{std::span(good).first(27)};
  EXPECT_EQ(parse_arp(shorter.span(), packet), DropReason::ARP_MALFORMED);
}

IpHeader neighbour_packet(std::span<const uint8_t> payload) {
  return {.source = link_local_of(ONE),
          .destination = link_local_of(TWO),
          .protocol = IP_PROTOCOL_ICMPV6,
          .hop_limit = 255,
          .payload = payload};
}

TEST(Ndp, rfc4861_solicitation_and_advertisement) {
  for (const bool solicitation : {true, false}) {
    uint8_t out[NeighbourMessage::BYTES];
    const NeighbourMessage message{.solicitation = solicitation,
                                   .solicited = !solicitation,
                                   .target = link_local_of(TWO),
                                   .has_mac = true,
                                   .mac = ONE};
    write_ndp(out, message, link_local_of(ONE), link_local_of(TWO));
    const IpHeader packet = neighbour_packet(out);
    IcmpMessage icmp;
    ASSERT_EQ(parse_icmp(packet, icmp), DropReason::NONE);
    EXPECT_EQ(icmp.kind, IcmpKind::NEIGHBOUR);
    NeighbourMessage again;
    ASSERT_EQ(parse_ndp(packet, again), DropReason::NONE);
    EXPECT_EQ(again.solicitation, solicitation);
    EXPECT_EQ(again.solicited, !solicitation);
    EXPECT_EQ(again.target, link_local_of(TWO));
    EXPECT_EQ(again.mac, ONE);
  }
}

TEST(Ndp, rfc4861_section_7_1_rules) {
  uint8_t out[NeighbourMessage::BYTES + 1];
  NeighbourMessage message{.solicitation = true, .target = link_local_of(TWO), .has_mac = true, .mac = ONE};
  const auto verdict = [&](size_t size, const auto& change) {
    write_ndp(out, message, link_local_of(ONE), link_local_of(TWO));
    IpHeader packet = neighbour_packet({out, size});
    change(packet);
    NeighbourMessage read;
    return parse_ndp(packet, read);
  };
  const auto nothing = [](IpHeader&) {};
  EXPECT_EQ(verdict(32, nothing), DropReason::NONE);
  EXPECT_EQ(verdict(24, nothing), DropReason::NONE);  // without an option
  EXPECT_EQ(verdict(32, [](IpHeader& p) { p.hop_limit = 254; }), DropReason::NDP_MALFORMED);
  EXPECT_EQ(verdict(32, [&](IpHeader&) { out[1] = 1; }), DropReason::NDP_MALFORMED);
  EXPECT_EQ(verdict(23, nothing), DropReason::NDP_MALFORMED);
  EXPECT_EQ(verdict(31, nothing), DropReason::NDP_MALFORMED);
  EXPECT_EQ(verdict(32, [&](IpHeader&) { out[25] = 0; }), DropReason::NDP_MALFORMED);
  EXPECT_EQ(verdict(32, [&](IpHeader&) { out[8] = 0xff; }), DropReason::NDP_MALFORMED);
  EXPECT_EQ(verdict(32, [](IpHeader& p) { p.source = {}; }), DropReason::NDP_MALFORMED);
  EXPECT_EQ(verdict(32, [&](IpHeader&) { out[0] = 134; }), DropReason::NDP_IGNORED);
}

TEST(Ndp, groups_of_an_address) {
  const std::vector<uint8_t> address = from_hex("20010db8000000000000000000123456");
  const std::vector<uint8_t> group = from_hex("ff0200000000000000000001ff123456");
  EXPECT_EQ(solicited_node(IpAddress::v6(address.data())), IpAddress::v6(group.data()));
  EXPECT_EQ(multicast_mac(IpAddress::v6(group.data())), (MacAddress{{0x33, 0x33, 0xff, 0x12, 0x34, 0x56}}));
  EXPECT_EQ(link_local_of(ONE), IpAddress::v6(from_hex("fe80000000000000000000fffe000001").data()));
}

}  // namespace
}  // namespace penstock
