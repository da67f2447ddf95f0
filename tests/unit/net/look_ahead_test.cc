// A burst's frames are looked at before they are handled (look_ahead.cc): each must reach its connection all the same,
// whatever stands before its segment.

#include "tests/support/tcp_bench.h"

#include <gtest/gtest.h>
#include <vector>

namespace penstock {
namespace {

// With a tag behind the addresses.
std::vector<uint8_t> tagged(std::vector<uint8_t> frame, uint16_t tag) {
  const uint8_t bytes[4] = {0x81, 0x00, static_cast<uint8_t>(tag >> 8), static_cast<uint8_t>(tag)};
  frame.insert(frame.begin() + 12, bytes, bytes + 4);
  return frame;
}

// With four options of IPv4 that say nothing.
std::vector<uint8_t> with_ip_options(std::vector<uint8_t> frame) {
  constexpr size_t AT = EthernetHeader::BYTES;
  frame.insert(frame.begin() + AT + IpHeader::V4_BYTES, 4, 1);
  frame[AT] = 0x46;
  store_be16(&frame[AT + 2], static_cast<uint16_t>(frame.size() - AT));
  store_be16(&frame[AT + 10], 0);
  store_be16(&frame[AT + 10], checksum_of(internet_sum(std::span(frame).subspan(AT, 24))));
  return frame;
}

TEST(LookAhead, every_frame_of_a_burst_reaches_its_own_connection) {
  NetConfig config = TcpBench::default_config();
  config.limits.connections_max = 64;
  config.limits.half_open_max = 64;
  TcpBench bench(config);
  constexpr uint16_t COUNT = 20;
  std::vector<Handle> conns;
  std::vector<uint32_t> acks;
  for (uint16_t i = 0; i < COUNT; ++i) {
    bench.peer_port = static_cast<uint16_t>(40'000 + i);
    bench.establish();
    conns.push_back(bench.conn);
    acks.push_back(bench.ack);
  }
  for (uint16_t i = 0; i < COUNT; ++i) {
    bench.peer_port = static_cast<uint16_t>(40'000 + i);
    std::vector<uint8_t> frame = bench.segment(TCP_ACK, bench.seq, acks[i], std::string(1, static_cast<char>('a' + i)));
    bench.device.incoming.push_back(i % 3 == 0 ? with_ip_options(std::move(frame)) : std::move(frame));
  }
  bench.turn();
  ASSERT_EQ(bench.events.size(), conns.size());
  for (size_t i = 0; i < COUNT; ++i) {
    EXPECT_EQ(bench.events[i].conn, conns[i]);
    EXPECT_EQ(bench.events[i].data[0], 'a' + i);
  }
  bench.told();
}

TEST(LookAhead, a_tag_of_priority_alone_is_no_part_of_the_addresses) {
  TcpBench bench;
  bench.establish();
  // IEEE 802.1Q: priority 3, no VLAN. Its first bits are those of IPv6's version.
  bench.put(tagged(bench.segment(TCP_ACK, bench.seq, bench.ack, std::string(1'516, 'x')), 0x6000));
  EXPECT_EQ(bench.told(), "received:" + std::string(1'516, 'x'));
}

TEST(LookAhead, on_a_vlan_the_tag_is_passed) {
  NetConfig config = TcpBench::default_config();
  config.addresses.vlan_id = 5;
  TcpBench bench(config);
  bench.put(tagged(bench.segment(TCP_SYN, 1, 0), 5));
  EXPECT_EQ(bench.stack->lent().half_open, 1U);
  bench.put(tagged(bench.segment(TCP_RST, 2, 0), 5));
  EXPECT_EQ(bench.stack->lent().half_open, 0U);
}

}  // namespace
}  // namespace penstock
