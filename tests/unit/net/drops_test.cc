// What the engine refuses, by its name in drop_reason.def, and what it answers to it; those that no test about the rule
// itself reaches.

#include "src/net/wire/icmp.h"
#include "src/net/wire/ndp.h"
#include "tests/support/tcp_bench.h"

#include <cerrno>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

using enum DropReason;

std::vector<uint8_t> v4_frame(const IpAddress& from, const IpAddress& to, uint8_t protocol,
                              std::span<const uint8_t> payload, const MacAddress& mac = TcpBench::OUR_MAC) {
  std::vector<uint8_t> frame(EthernetHeader::BYTES + IpHeader::V4_BYTES);
  write_ethernet(frame.data(), {.destination = mac, .source = TcpBench::PEER_MAC, .type = 0x0800});
  write_ip(&frame[EthernetHeader::BYTES], {.source = from, .destination = to, .protocol = protocol, .hop_limit = 64},
           payload.size());
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

// A good segment of the peer's, from a port that may be 0.
std::vector<uint8_t> segment_from(uint16_t from_port, uint16_t to_port) {
  TcpBench writer;
  writer.peer_port = from_port;
  return writer.segment(TCP_SYN, 1, 0, {}, {}, to_port);
}

void expect_silence(TcpBench& bench, const std::vector<uint8_t>& frame, DropReason reason) {
  const uint64_t before = bench.dropped(reason);
  bench.put(frame);
  EXPECT_EQ(bench.dropped(reason), before + 1) << drop_reason_name(reason);
  EXPECT_TRUE(bench.device.sent.empty()) << drop_reason_name(reason);
}

TEST(Drops, rfc1122_3_2_1_3_packets_for_others_and_of_other_protocols) {
  TcpBench bench;
  const std::vector<uint8_t> payload(20, 0);
  expect_silence(bench, v4_frame(TcpBench::PEER, IpAddress::v4(10, 0, 0, 9), IP_PROTOCOL_TCP, payload), IP_NOT_OURS);
  expect_silence(bench, bench.ip_frame(17, payload), IP_PROTOCOL_UNKNOWN);
  expect_silence(bench, v4_frame(IpAddress::v4(127, 0, 0, 1), TcpBench::OURS, IP_PROTOCOL_TCP, payload), IP_SOURCE);
}

TEST(Drops, rfc9293_must_57_a_segment_to_a_group_is_not_answered) {
  TcpBench bench;
  std::vector<uint8_t> frame = bench.segment(TCP_SYN, 1, 0);
  write_ethernet(frame.data(), {.destination = MacAddress::broadcast(), .source = TcpBench::PEER_MAC, .type = 0x0800});
  expect_silence(bench, frame, TCP_GROUP_ADDRESS);
}

TEST(Drops, rfc6335_6_port_zero_is_nobodys) {
  TcpBench bench;
  expect_silence(bench, segment_from(0, TcpBench::PORT), TCP_PORT_ZERO);
  expect_silence(bench, segment_from(40'000, 0), TCP_PORT_ZERO);
}

TEST(Drops, rfc792_messages_that_ask_for_nothing) {
  TcpBench bench;
  std::vector<uint8_t> timestamp = {13, 0, 0, 0, 0, 1, 0, 1};  // RFC 6633, RFC 6274: not answered
  store_be16(&timestamp[2], checksum_of(internet_sum(timestamp)));
  expect_silence(bench, bench.ip_frame(IP_PROTOCOL_ICMP, timestamp), ICMP_IGNORED);
}

TEST(Drops, rfc4861_7_2_neighbour_messages_about_what_is_ours_or_others) {
  TcpBench bench;
  IpAddress ours;
  ours.bytes = {0xfd, 1};
  ours.bytes[15] = 1;
  IpAddress other = ours;
  other.bytes[15] = 9;
  const IpAddress peer = link_local_of(TcpBench::PEER_MAC);
  const auto message = [&](const NeighbourMessage& neighbour) {
    std::vector<uint8_t> frame(14 + 40 + NeighbourMessage::BYTES);
    const IpAddress to = neighbour.solicitation ? solicited_node(ours) : ours;
    write_ethernet(frame.data(), {.destination = neighbour.solicitation ? multicast_mac(to) : TcpBench::OUR_MAC,
                                  .source = TcpBench::PEER_MAC,
                                  .type = 0x86dd});
    write_ip(&frame[14], {.source = peer, .destination = to, .protocol = IP_PROTOCOL_ICMPV6, .hop_limit = 255},
             NeighbourMessage::BYTES);
    write_ndp(&frame[54], neighbour, peer, to);
    return frame;
  };
  // About our own address, which no other may have; and a question about somebody else's.
  expect_silence(bench, message({.solicited = true, .target = ours, .has_mac = true, .mac = TcpBench::PEER_MAC}),
                 NDP_NOT_OURS);
  expect_silence(bench, message({.solicitation = true, .target = other, .has_mac = true, .mac = TcpBench::PEER_MAC}),
                 NDP_NOT_OURS);
}

TEST(TcpConnect, rfc9293_3_10_7_3_an_ack_of_what_was_not_sent_is_answered_by_rst) {
  TcpBench bench;
  const Handle conn = bench.stack->connect(TcpBench::PEER, bench.peer_port, TcpBench::PORT + 1);
  bench.stack->submit();
  const uint32_t iss = bench.out().at(0).header.seq;
  bench.in(TCP_SYN | TCP_ACK, 9, iss + 2, {}, {}, TcpBench::PORT + 1);
  const auto answer = bench.out();
  ASSERT_EQ(answer.size(), 1U);
  EXPECT_TRUE(answer[0].has(TCP_RST));
  EXPECT_EQ(answer[0].header.seq, iss + 2);
  bench.in(TCP_RST | TCP_ACK, 9, iss + 2, {}, {}, TcpBench::PORT + 1);  // … but a RST never
  EXPECT_TRUE(bench.out().empty());
  EXPECT_EQ(bench.dropped(TCP_SYN_SENT_ACK), 2U);
  bench.in(TCP_RST, 9, 0, {}, {}, TcpBench::PORT + 1);
  bench.in(TCP_ACK, 9, iss + 1, {}, {}, TcpBench::PORT + 1);
  EXPECT_EQ(bench.dropped(TCP_SYN_SENT_FLAGS), 2U);
  EXPECT_TRUE(bench.out().empty());
  EXPECT_EQ(bench.stack->state(conn), TcpState::SYN_SENT);
  bench.in(TCP_SYN | TCP_ACK, 9, iss + 1, {}, {}, TcpBench::PORT + 1);
  EXPECT_EQ(bench.told(), "connected");
  EXPECT_EQ(bench.stack->counters().connections_opened, 1U);
}

TEST(TcpChallenge, rfc5961_each_is_counted_with_its_answer) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_SYN, bench.seq, 0);
  EXPECT_EQ(bench.dropped(TCP_SYN_CHALLENGED), 1U);
  bench.in(TCP_ACK, bench.seq, bench.ack + 1);
  EXPECT_EQ(bench.dropped(TCP_ACK_CHALLENGED), 1U);
  EXPECT_EQ(bench.stack->counters().challenge_acks_sent, 2U);
  EXPECT_EQ(bench.out().size(), 2U);
}

TEST(Drops, data_with_every_receive_hold_lent_out) {
  NetConfig config = TcpBench::default_config();
  config.limits.receive_holds_max = 2;
  TcpBench bench(config);
  bench.establish();
  for (uint32_t i = 0; i < 3; ++i) bench.in(TCP_ACK, bench.seq + i, bench.ack, "x");
  EXPECT_EQ(bench.dropped(TCP_HOLDS_FULL), 1U);
  EXPECT_EQ(bench.told(), "received:x received:x");
  bench.in(TCP_ACK, bench.seq + 2, bench.ack, "x");  // the peer sends it again
  EXPECT_EQ(bench.told(), "received:x");
}

TEST(NetCounters, what_is_sent_lost_and_refused_is_counted) {
  NetConfig config = TcpBench::default_config();
  config.limits.send_pieces_max = 1;
  config.limits.connections_max = 2;
  config.limits.scoreboards_max = 1;
  TcpBench bench(config);
  const NetCounters& counters = bench.stack->counters();
  bench.establish({.mss = 1'000, .sack_permitted = true});
  const uint64_t sent = counters.frames_sent;
  bench.send("abc");
  EXPECT_EQ(counters.frames_sent, sent + 1);
  EXPECT_EQ(counters.payload_bytes_sent, 3U);
  const NetPart part{.data = "more", .size = 4};
  EXPECT_FALSE(bench.stack->send(bench.conn, {&part, 1}, 2));
  EXPECT_EQ(counters.pieces_full, 1U);
  // A neighbour that is not known, and does not answer three questions.
  const Handle lost = bench.stack->connect(IpAddress::v4(10, 0, 0, 9), 99);
  ASSERT_TRUE(lost.valid());
  bench.stack->submit();
  EXPECT_GE(counters.unresolved, 1U);
  EXPECT_FALSE(bench.stack->connect(TcpBench::PEER, 99).valid());  // both slots are taken
  EXPECT_EQ(counters.connects_refused, 1U);
  bench.pass(seconds(10));
  EXPECT_GE(counters.neighbours_lost, 1U);
}

TEST(NetCounters, a_scoreboard_that_is_not_there_is_counted_and_recovery_goes_without) {
  NetConfig config = TcpBench::default_config();
  config.limits.scoreboards_max = 1;
  TcpBench bench(config);
  const NetCounters& counters = bench.stack->counters();
  constexpr uint16_t OTHER_PORT = 40'001;
  Handle conns[2];
  uint32_t acks[2];
  for (uint16_t i = 0; i < 2; ++i) {
    bench.peer_port = static_cast<uint16_t>(OTHER_PORT - 1 + i);
    bench.establish({.mss = 1'000, .sack_permitted = true});
    conns[i] = bench.conn;
    acks[i] = bench.ack;
  }
  for (uint16_t i = 0; i < 2; ++i) {
    bench.peer_port = static_cast<uint16_t>(OTHER_PORT - 1 + i);
    bench.conn = conns[i];
    bench.send(std::string(6'000, 'x'));
    bench.out();
    TcpOptions sack;
    sack.sack_count = 1;
    for (uint32_t k = 1; k <= 3; ++k) {
      sack.sacks[0] = {acks[i] + 1'000, acks[i] + 1'000 + k * 1'000};
      bench.in(TCP_ACK, bench.seq, acks[i], {}, sack);
    }
    // What is missing goes again either way: found by its holes, or by three ACKs that say nothing new (RFC 5681).
    const auto again = bench.out();
    ASSERT_FALSE(again.empty());
    EXPECT_EQ(again[0].header.seq, acks[i]);
  }
  EXPECT_EQ(counters.scoreboards_full, 3U);
  EXPECT_EQ(counters.recoveries, 2U);
}

}  // namespace
}  // namespace penstock
