// Under TCP: ARP and neighbour discovery both ways, echo, path MTU, what is refused.

#include "tests/support/net_frames.h"
#include "tests/support/tcp_bench.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace penstock {
namespace {

std::vector<uint8_t> arp_frame(bool request, const IpAddress& sender, const IpAddress& target,
                               const MacAddress& mac = TcpBench::PEER_MAC) {
  std::vector<uint8_t> frame(EthernetHeader::BYTES + ArpPacket::BYTES);
  write_ethernet(frame.data(),
                 {.destination = request ? MacAddress::broadcast() : TcpBench::OUR_MAC, .source = mac, .type = 0x0806});
  write_arp(
      &frame[EthernetHeader::BYTES],
      {.request = request, .sender_mac = mac, .sender = sender, .target_mac = TcpBench::OUR_MAC, .target = target});
  return frame;
}

// A connection to it waits, and the question for it has gone out.
void wait_for_neighbour(TcpBench& bench, const IpAddress& neighbour) {
  (void)bench.stack->connect(neighbour, 99);
  bench.stack->submit();
  bench.device.sent.clear();
}

TEST(Arp, rfc826_a_question_for_us_is_answered) {
  TcpBench bench;
  bench.put(arp_frame(true, TcpBench::PEER, TcpBench::OURS));
  ASSERT_EQ(bench.device.sent.size(), 1U);
  ArpPacket answer;
  ASSERT_EQ(parse_arp(std::span(bench.device.sent[0].bytes).subspan(14), answer), DropReason::NONE);
  EXPECT_FALSE(answer.request);
  EXPECT_EQ(answer.sender_mac, TcpBench::OUR_MAC);
  EXPECT_EQ(answer.target, TcpBench::PEER);
  bench.put(arp_frame(true, TcpBench::PEER, IpAddress::v4(10, 0, 0, 99)));
  EXPECT_EQ(bench.dropped(DropReason::ARP_NOT_OURS), 1U);
}

TEST(Arp, a_question_that_another_engine_answers_is_only_learnt_from) {
  TcpBench bench;
  const IpAddress other = IpAddress::v4(10, 0, 0, 3);
  bench.device.overheard = true;
  bench.put(arp_frame(true, other, TcpBench::OURS));
  EXPECT_TRUE(bench.device.sent.empty());
  (void)bench.stack->connect(other, 99);
  bench.stack->submit();
  const auto syn = bench.out();  // and no question before it
  ASSERT_EQ(syn.size(), 1U);
  EXPECT_EQ(bench.stack->counters().neighbour_requests, 0U);
}

TEST(Arp, an_answer_that_another_engine_gets_wakes_who_waits_here) {
  TcpBench bench;
  const IpAddress other = IpAddress::v4(10, 0, 0, 3);
  wait_for_neighbour(bench, other);
  bench.device.overheard = true;
  bench.put(arp_frame(false, other, TcpBench::OURS));
  EXPECT_EQ(bench.out().size(), 1U);
}

TEST(Arp, an_unknown_neighbour_is_asked_for_and_what_waits_goes_out_then) {
  TcpBench bench;
  const IpAddress other = IpAddress::v4(10, 0, 0, 3);
  (void)bench.stack->connect(other, 99);
  bench.stack->submit();
  ASSERT_EQ(bench.device.sent.size(), 1U);
  ArpPacket question;
  ASSERT_EQ(parse_arp(std::span(bench.device.sent[0].bytes).subspan(14), question), DropReason::NONE);
  EXPECT_TRUE(question.request);
  EXPECT_EQ(question.target, other);
  bench.device.sent.clear();
  bench.put(arp_frame(false, other, TcpBench::OURS));
  const auto syn = bench.out();
  ASSERT_EQ(syn.size(), 1U);
  EXPECT_EQ(syn[0].header.flags, TCP_SYN);
}

TEST(Arp, three_questions_a_second_apart_and_then_none) {
  TcpBench bench;
  (void)bench.stack->connect(IpAddress::v4(10, 0, 0, 3), 99);
  bench.stack->submit();
  bench.pass(milliseconds(900));
  EXPECT_EQ(bench.stack->counters().neighbour_requests, 1U);
  bench.pass(milliseconds(2'000));
  EXPECT_EQ(bench.stack->counters().neighbour_requests, 3U);
}

TEST(Arp, all_who_wait_for_one_address_go_out_with_its_answer) {
  NetConfig config = TcpBench::default_config();
  config.limits.connections_max = 64;
  TcpBench bench(config);
  const IpAddress other = IpAddress::v4(10, 0, 0, 3);
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(bench.stack->connect(other, 99).valid());
  bench.stack->submit();
  bench.device.sent.clear();
  bench.put(arp_frame(false, other, TcpBench::OURS));
  EXPECT_EQ(bench.out().size(), 60U);
  EXPECT_EQ(bench.stack->counters().neighbour_requests, 1U);
}

// RFC 4861 section 7.3.1: who sends without an answer has no proof that its neighbour is where it was. The address may
// be wrong from the start: a frame of ARP has no checksum of its own.
TEST(Arp, a_neighbour_that_does_not_answer_is_asked_for_again) {
  TcpBench bench;
  bench.establish();
  bench.put(arp_frame(true, TcpBench::PEER, TcpBench::OURS, {{2, 9, 9, 9, 9, 9}}));
  bench.device.sent.clear();
  bench.send("answer");
  bench.device.sent.clear();
  bench.pass(milliseconds(1'500));  // two timeouts
  ArpPacket question;
  const auto asks = [&](const ScriptDevice::Sent& frame) {
    return parse_arp(std::span(frame.bytes).subspan(14), question) == DropReason::NONE && question.request;
  };
  ASSERT_EQ(std::ranges::count_if(bench.device.sent, asks), 1);  // not with every timeout
  EXPECT_EQ(question.target, TcpBench::PEER);
  bench.put(arp_frame(false, TcpBench::PEER, TcpBench::OURS));
  bench.device.sent.clear();
  bench.pass(seconds(2));
  ASSERT_EQ(bench.device.sent.size(), 2U);  // the next question, and
  EthernetHeader link;
  ASSERT_EQ(parse_ethernet(bench.device.sent[1].bytes, link), DropReason::NONE);
  EXPECT_EQ(link.destination, TcpBench::PEER_MAC);
  EXPECT_EQ(bench.out().at(0).data, "answer");
}

TEST(Arp, an_answer_that_nobody_asked_for_is_not_believed) {
  TcpBench bench;
  bench.put(arp_frame(false, IpAddress::v4(10, 0, 0, 3), TcpBench::OURS));
  (void)bench.stack->connect(IpAddress::v4(10, 0, 0, 3), 99);
  bench.stack->submit();
  EXPECT_EQ(bench.stack->counters().neighbour_requests, 1U);
}

TEST(Arp, rfc5227_an_announcement_tells_all_who_has_our_address) {
  TcpBench bench;
  bench.stack->announce();
  bench.stack->submit();
  ASSERT_EQ(bench.device.sent.size(), 3U);  // and of both IPv6 addresses
  EthernetHeader link;
  ASSERT_EQ(parse_ethernet(bench.device.sent[0].bytes, link), DropReason::NONE);
  EXPECT_EQ(link.destination, MacAddress::broadcast());
  ArpPacket told;
  ASSERT_EQ(parse_arp(std::span(bench.device.sent[0].bytes).subspan(14), told), DropReason::NONE);
  EXPECT_TRUE(told.request);
  EXPECT_EQ(told.sender, TcpBench::OURS);
  EXPECT_EQ(told.target, TcpBench::OURS);
  EXPECT_EQ(told.sender_mac, TcpBench::OUR_MAC);
  for (size_t i = 1; i < 3; ++i) {
    IpHeader packet;
    NeighbourMessage message;
    ASSERT_EQ(parse_ipv6(std::span(bench.device.sent[i].bytes).subspan(14), packet), DropReason::NONE);
    ASSERT_EQ(parse_ndp(packet, message), DropReason::NONE);
    EXPECT_FALSE(message.solicitation);
    EXPECT_FALSE(message.solicited);
    EXPECT_TRUE(message.override_old);
    EXPECT_EQ(message.target, packet.source);
    EXPECT_EQ(message.mac, TcpBench::OUR_MAC);
    EXPECT_TRUE(packet.destination.is_multicast());
  }
}

TEST(Arp, rfc5227_an_announcement_ends_the_wait_of_who_asked_in_vain) {
  TcpBench bench;
  const IpAddress other = IpAddress::v4(10, 0, 0, 3);
  wait_for_neighbour(bench, other);
  bench.put(arp_frame(true, other, other));
  const auto syn = bench.out();
  ASSERT_EQ(syn.size(), 1U);
  EXPECT_EQ(syn[0].header.flags, TCP_SYN);
  // Nobody is remembered for that alone.
  bench.put(arp_frame(true, IpAddress::v4(10, 0, 0, 4), IpAddress::v4(10, 0, 0, 4)));
  (void)bench.stack->connect(IpAddress::v4(10, 0, 0, 4), 99);
  bench.stack->submit();
  EXPECT_EQ(bench.stack->counters().neighbour_requests, 2U);
}

TEST(Arp, other_networks_are_behind_the_gateway) {
  NetConfig config = TcpBench::default_config();
  config.addresses.v4_gateway = TcpBench::PEER;
  TcpBench bench(config);
  (void)bench.stack->connect(IpAddress::v4(192, 0, 2, 1), 99);
  bench.stack->submit();
  ASSERT_EQ(bench.device.sent.size(), 1U);
  EXPECT_EQ(std::memcmp(bench.device.sent[0].bytes.data(), TcpBench::PEER_MAC.bytes.data(), 6), 0);
}

TEST(Ndp, rfc4861_7_2_4_a_solicitation_is_answered) {
  TcpBench bench;
  const std::vector<uint8_t> frame = neighbour_solicitation();
  bench.put(frame);
  ASSERT_EQ(bench.device.sent.size(), 1U);
  IpHeader packet;
  ASSERT_EQ(parse_ipv6(std::span(bench.device.sent[0].bytes).subspan(14), packet), DropReason::NONE);
  NeighbourMessage answer;
  IcmpMessage icmp;
  ASSERT_EQ(parse_icmp(packet, icmp), DropReason::NONE);
  ASSERT_EQ(parse_ndp(packet, answer), DropReason::NONE);
  EXPECT_TRUE(answer.solicited && answer.override_old && !answer.solicitation);
  EXPECT_EQ(answer.mac, TcpBench::OUR_MAC);
  EXPECT_EQ(answer.target, our_v6());
  bench.device.sent.clear();
  bench.device.overheard = true;  // another engine answers
  bench.put(frame);
  EXPECT_TRUE(bench.device.sent.empty());
}

TEST(Icmp, rfc1122_3_2_2_6_echo_is_answered_with_all_its_bytes) {
  TcpBench bench;
  std::vector<uint8_t> request = icmp_v4("08000000 00010002", std::vector<uint8_t>(1'400, 0x5a));
  bench.put(bench.ip_frame(IP_PROTOCOL_ICMP, request));
  ASSERT_EQ(bench.device.sent.size(), 1U);
  IpHeader packet;
  ASSERT_EQ(parse_ipv4(std::span(bench.device.sent[0].bytes).subspan(14), false, packet), DropReason::NONE);
  EXPECT_EQ(packet.destination, TcpBench::PEER);
  EXPECT_EQ(packet.payload.size(), request.size());
  EXPECT_EQ(packet.payload[0], 0);
  EXPECT_TRUE(checksum_good(internet_sum(packet.payload)));
}

TEST(Icmp, echo_has_a_limit) {
  NetConfig config = TcpBench::default_config();
  config.limits.replies_per_second = 4;
  TcpBench bench(config);
  for (int i = 0; i < 9; ++i) bench.put(bench.ip_frame(IP_PROTOCOL_ICMP, icmp_v4("08000000 00010002")));
  EXPECT_EQ(bench.device.sent.size(), 4U);
  EXPECT_EQ(bench.dropped(DropReason::ICMP_RATE), 5U);
}

// The error that a router sends about a frame of ours.
std::vector<uint8_t> too_big(const ScriptDevice::Sent& frame, uint16_t mtu) {
  char head[24];
  std::snprintf(head, sizeof head, "03040000 0000%04x", mtu);
  return icmp_v4(head, std::span(frame.bytes).subspan(14, 28));
}

TEST(PathMtu, rfc1191_segments_become_smaller_and_are_sent_again) {
  TcpBench bench;
  bench.establish({.mss = 1'460});
  bench.send(std::string(1'460, 'x'));
  ASSERT_EQ(bench.device.sent.size(), 1U);
  const auto error = too_big(bench.device.sent[0], 1'000);
  EXPECT_EQ(bench.out()[0].data.size(), 1'460U);
  bench.put(bench.ip_frame(IP_PROTOCOL_ICMP, error));
  const auto again = bench.out();
  ASSERT_EQ(again.size(), 2U);
  EXPECT_EQ(again[0].data.size(), 960U);
  EXPECT_EQ(again[1].data.size(), 500U);
  EXPECT_EQ(bench.stack->counters().path_mtu_reduced, 1U);
}

TEST(PathMtu, rfc1191_section_3_never_below_the_least) {
  TcpBench bench;
  bench.establish({.mss = 1'460});
  bench.send(std::string(1'460, 'x'));
  const auto error = too_big(bench.device.sent[0], 68);
  bench.out();
  bench.put(bench.ip_frame(IP_PROTOCOL_ICMP, error));
  EXPECT_EQ(bench.out().at(0).data.size(), 512U);
}

TEST(PathMtu, rfc5927_an_error_about_bytes_that_are_not_in_flight_is_not_believed) {
  TcpBench bench;
  bench.establish({.mss = 1'460});
  bench.send(std::string(1'460, 'x'));
  const auto error = too_big(bench.device.sent[0], 1'000);
  bench.out();
  bench.in(TCP_ACK, bench.seq, bench.ack + 1'460);
  bench.put(bench.ip_frame(IP_PROTOCOL_ICMP, error));
  EXPECT_EQ(bench.dropped(DropReason::ICMP_NO_CONNECTION), 1U);
  EXPECT_EQ(bench.stack->counters().path_mtu_reduced, 0U);
}

TEST(Icmp, rfc5927_unreachable_does_not_end_an_established_connection) {
  TcpBench bench;
  bench.establish();
  bench.send("abc");
  const auto error = icmp_v4("03030000 00000000", std::span(bench.device.sent[0].bytes).subspan(14, 28));
  bench.put(bench.ip_frame(IP_PROTOCOL_ICMP, error));
  EXPECT_EQ(bench.told(), "");
}

TEST(Drops, every_refused_frame_is_counted_by_its_reason) {
  TcpBench bench;
  const std::vector<uint8_t> good = bench.segment(TCP_SYN, 1, 0);
  const auto drop = [&](size_t at, uint8_t value, DropReason reason) {
    std::vector<uint8_t> bad = good;
    bad[at] = value;
    const uint64_t before = bench.dropped(reason);
    bench.put(bad);
    EXPECT_EQ(bench.dropped(reason), before + 1) << drop_reason_name(reason);
  };
  drop(5, 99, DropReason::ETHERNET_NOT_OURS);
  drop(13, 0x77, DropReason::ETHERTYPE_UNKNOWN);
  drop(14, 0x65, DropReason::IP_VERSION);
  drop(24, 1, DropReason::IP_HEADER_CHECKSUM);
  drop(50, 1, DropReason::TCP_CHECKSUM);
  bench.put(std::vector<uint8_t>(good.begin(), good.begin() + 10));
  EXPECT_EQ(bench.dropped(DropReason::FRAME_SHORT), 1U);
  std::vector<uint8_t> fragment = good;
  fragment[20] = 0x20;
  store_be16(&fragment[24], 0);
  store_be16(&fragment[24], checksum_of(internet_sum(std::span(fragment).subspan(14, 20))));
  bench.put(fragment);
  EXPECT_EQ(bench.dropped(DropReason::IP_FRAGMENT), 1U);
  EXPECT_TRUE(bench.device.lent.empty());
}

TEST(Vlan, frames_of_another_network_are_not_ours) {
  NetConfig config = TcpBench::default_config();
  config.addresses.vlan_id = 5;
  TcpBench bench(config);
  bench.put(bench.segment(TCP_SYN, 1, 0));
  EXPECT_GE(bench.dropped(DropReason::VLAN_NOT_OURS), 1U);
}

TEST(Device, frames_that_it_does_not_take_are_lost_and_sent_again) {
  TcpBench bench;
  bench.establish();
  bench.device.takes_max = 0;
  bench.send("abc");
  EXPECT_TRUE(bench.out().empty());
  bench.device.takes_max = SIZE_MAX;
  bench.pass(milliseconds(210));
  EXPECT_EQ(bench.out().at(0).data, "abc");
  bench.in(TCP_ACK, bench.seq, bench.ack + 3);
  EXPECT_EQ(bench.told(), "sent");
}

TEST(Device, a_full_one_is_waited_for_in_order_and_nothing_is_lost) {
  NetConfig config = TcpBench::default_config();
  config.limits.connections_max = 256;
  TcpBench bench(config);
  bench.device.room = 1;
  constexpr uint16_t COUNT = 200;
  for (uint16_t i = 0; i < COUNT; ++i)
    ASSERT_TRUE(bench.stack->connect(TcpBench::PEER, 99, static_cast<uint16_t>(1'000 + i)).valid());
  bench.stack->submit();
  std::vector<SentSegment> sent = bench.out();
  ASSERT_LT(sent.size(), COUNT / 2);
  EXPECT_EQ(bench.stack->next_deadline(), bench.now);  // it is to be asked again
  bench.turn();
  EXPECT_TRUE(bench.out().empty());
  while (sent.size() < COUNT) {
    bench.device.room = 1;
    bench.turn();
    const std::vector<SentSegment> more = bench.out();
    ASSERT_FALSE(more.empty());
    sent.insert(sent.end(), more.begin(), more.end());
  }
  for (uint16_t i = 0; i < COUNT; ++i) EXPECT_EQ(sent[i].header.source_port, 1'000 + i);
  EXPECT_EQ(bench.stack->counters().frames_refused, 0U);
}

TEST(Device, a_full_one_is_waited_for_with_what_a_connection_sends) {
  TcpBench bench;
  bench.establish({.mss = 100});
  std::string text(1'000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 26);
  bench.device.room = 1;
  bench.introduce();  // its answer is the last that is taken
  bench.send(text);
  EXPECT_TRUE(bench.out().empty());
  bench.device.room = SIZE_MAX;
  bench.turn();
  std::string got;
  for (const SentSegment& segment : bench.out()) got += segment.data;
  EXPECT_EQ(got, text);
  EXPECT_EQ(bench.stack->counters().segments_retransmitted, 0U);
}

TEST(Device, checksums_are_left_to_a_port_that_makes_them) {
  TcpBench bench(TcpBench::default_config(), {.tx_ip_checksum = true, .tx_tcp_checksum = true});
  bench.in(TCP_SYN, 5'000, 0);
  EXPECT_EQ(load_be16(&bench.device.sent.at(0).bytes[24]), 0);
  EXPECT_EQ(bench.stack->counters().payload_bytes_summed, 0U);
}

}  // namespace
}  // namespace penstock
