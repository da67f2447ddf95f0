// Frames of several segments each, for a port that cuts them (TSO).

#include "tests/support/tcp_bench.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr DeviceFeatures CUTS = {.tx_large_v4_bytes = 65'000};

std::string text_of(size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text.push_back(static_cast<char>('a' + i * 7 % 26));
  return text;
}

class LargeSegments : public testing::Test {
 protected:
  void SetUp() override { bench_.establish({.mss = 1'000, .sack_permitted = true}); }
  [[nodiscard]] const NetCounters& counters() const { return bench_.stack->counters(); }

  TcpBench bench_{TcpBench::default_config(), CUTS};
};

TEST_F(LargeSegments, all_full_segments_that_the_congestion_window_lets_go_are_one_frame) {
  const std::string text = text_of(25'500);
  bench_.send(text);
  const auto frames = bench_.out();  // which checks what a port expects in the checksums' fields
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].data, text.substr(0, 10'000));
  EXPECT_EQ(frames[0].segment_bytes, 1'000);
  EXPECT_EQ(frames[0].header.seq, bench_.ack);
  EXPECT_EQ(frames[0].header.flags, TCP_ACK);
  EXPECT_EQ(frames[0].memory, reinterpret_cast<const uint8_t*>(bench_.memory.back()->data()));
  EXPECT_EQ(counters().large_segments_sent, 1U);
  EXPECT_EQ(counters().payload_bytes_sent, 10'000U);
}

TEST_F(LargeSegments, sc13_a_port_that_cuts_spares_us_every_sum) {
  bench_.send(text_of(10'000));
  EXPECT_EQ(bench_.out().size(), 1U);
  EXPECT_EQ(counters().payload_bytes_summed, 0U);
  EXPECT_EQ(counters().payload_sums_reused, 0U);
}

TEST_F(LargeSegments, a_segment_of_its_own_is_summed_by_us_unless_the_port_has_said_that_it_had_better) {
  bench_.send(text_of(700));
  const auto frames = bench_.out();
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].segment_bytes, 0);
  EXPECT_EQ(counters().payload_bytes_summed, 700U);
  EXPECT_EQ(counters().large_segments_sent, 0U);
}

TEST_F(LargeSegments, the_end_of_all_goes_along_with_psh_and_fin) {
  bench_.memory.push_back(std::make_unique<std::string>(text_of(3'500)));
  const NetPart part{.data = bench_.memory.back()->data(), .size = 3'500};
  ASSERT_TRUE(bench_.stack->send(bench_.conn, {&part, 1}, 1));
  bench_.stack->shutdown_send(bench_.conn);
  bench_.stack->submit();
  const auto frames = bench_.out();
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].data.size(), 3'500U);
  EXPECT_EQ(frames[0].header.flags, TCP_ACK | TCP_PSH | TCP_FIN);
  bench_.in(TCP_ACK, bench_.seq, bench_.ack + 3'501);
  EXPECT_EQ(bench_.told(), "sent");
  EXPECT_EQ(bench_.stack->state(bench_.conn), TcpState::FIN_WAIT_2);
}

TEST_F(LargeSegments, rfc9293_3_8_6_2_1_a_window_is_not_filled_up_by_a_short_one) {
  bench_.window = 3'500;
  bench_.in(TCP_ACK, bench_.seq, bench_.ack, "x");
  bench_.out();
  bench_.send(text_of(8'000));
  auto frames = bench_.out();
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].data.size(), 3'000U);
  bench_.in(TCP_ACK, bench_.seq + 1, bench_.ack + 3'000);
  frames = bench_.out();
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].data.size(), 3'000U);
  EXPECT_EQ(frames[0].header.seq, bench_.ack + 3'000);
  bench_.told();
}

TEST_F(LargeSegments, what_is_lost_of_one_is_cut_from_the_memory_again) {
  const std::string text = text_of(8'000);
  bench_.send(text);
  ASSERT_EQ(bench_.out().size(), 1U);
  const uint32_t una = bench_.ack;
  TcpOptions sack;
  for (uint32_t end : {4'000U, 5'000U, 6'000U}) {  // all before it but the third
    sack.sack_count = 1;
    sack.sacks[0] = {una + 3'000, una + end};
    bench_.in(TCP_ACK, bench_.seq, una + 2'000, {}, sack);
  }
  const auto again = bench_.out();
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].header.seq, una + 2'000);
  EXPECT_EQ(again[0].data, text.substr(2'000, 1'000));
  EXPECT_EQ(again[0].memory, reinterpret_cast<const uint8_t*>(bench_.memory.back()->data()) + 2'000);
  EXPECT_EQ(again[0].segment_bytes, 0);
  EXPECT_EQ(counters().segments_retransmitted, 1U);
  bench_.in(TCP_ACK, bench_.seq, una + 8'000);
  EXPECT_EQ(bench_.told(), "sent");
}

TEST_F(LargeSegments, after_a_timeout_what_was_sent_goes_again_segment_by_segment) {
  bench_.send(text_of(8'000));
  bench_.out();
  bench_.pass(milliseconds(210));
  auto again = bench_.out();
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].data.size(), 1'000U);
  bench_.in(TCP_ACK, bench_.seq, bench_.ack + 1'000);
  again = bench_.out();
  ASSERT_EQ(again.size(), 2U);
  EXPECT_EQ(again[1].data.size(), 1'000U);
}

TEST_F(LargeSegments, memory_stays_until_all_of_it_is_acknowledged_and_the_port_has_let_go) {
  bench_.device.keeps_holds = true;
  bench_.send(text_of(5'000));
  ASSERT_EQ(bench_.device.held.size(), 1U);
  bench_.in(TCP_ACK, bench_.seq, bench_.ack + 4'999);
  EXPECT_EQ(bench_.told(), "");
  bench_.in(TCP_ACK, bench_.seq, bench_.ack + 5'000);
  EXPECT_EQ(bench_.told(), "");
  bench_.device.keeps_holds = false;
  bench_.turn();
  EXPECT_EQ(bench_.told(), "sent");
}

// Four references a frame: what they reach ends with a full segment, lest a short one stands in the middle.
TEST_F(LargeSegments, a_frame_without_room_for_more_parts_ends_with_a_full_segment) {
  const std::string text = text_of(6 * 700);
  bench_.memory.push_back(std::make_unique<std::string>(text));
  std::vector<NetPart> parts;
  for (size_t i = 0; i < 6; ++i) parts.push_back({.data = bench_.memory.back()->data() + i * 700, .size = 700});
  ASSERT_TRUE(bench_.stack->send(bench_.conn, parts, 1));
  bench_.stack->submit();
  const auto frames = bench_.out();
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].data, text.substr(0, 2'000));
  EXPECT_EQ(frames[1].data, text.substr(2'000));
  EXPECT_TRUE(frames[1].has(TCP_PSH));
}

TEST(LargeSegmentsOf, a_port_are_no_larger_than_it_takes) {
  TcpBench bench(TcpBench::default_config(), {.tx_large_v4_bytes = 4'500});
  bench.establish();
  bench.send(text_of(9'700));
  const auto frames = bench.out();
  ASSERT_EQ(frames.size(), 3U);
  EXPECT_EQ(frames[0].data.size(), 4'000U);
  EXPECT_EQ(frames[1].data.size(), 4'000U);
  EXPECT_EQ(frames[2].data.size(), 1'700U);
}

TEST(LargeSegmentsOf, a_port_are_made_for_the_version_of_ip_that_it_cuts) {
  TcpBench bench(TcpBench::default_config(), {.tx_large_v6_bytes = 65'000});
  bench.establish();
  bench.send(text_of(3'000));
  const auto frames = bench.out();
  ASSERT_EQ(frames.size(), 3U);
  EXPECT_EQ(frames[0].segment_bytes, 0);
}

// The congestion window opens as long as all of it is used.
TEST(LargeSegmentsOf, a_port_have_64_segments_at_most) {
  TcpBench bench(TcpBench::default_config(), CUTS);
  bench.establish({.mss = 100});
  bench.send(text_of(60'000));
  uint32_t acknowledged = 0;
  size_t largest = 0;
  for (int round = 0; round < 200 && acknowledged < 60'000; ++round) {
    for (const SentSegment& frame : bench.out()) {
      largest = std::max(largest, frame.data.size());
      for (size_t left = frame.data.size(); left != 0; left -= std::min<size_t>(left, 200)) {
        acknowledged += static_cast<uint32_t>(std::min<size_t>(left, 200));
        bench.device.incoming.push_back(bench.segment(TCP_ACK, bench.seq, bench.ack + acknowledged));
      }
    }
    while (!bench.device.incoming.empty()) bench.turn();
  }
  EXPECT_EQ(acknowledged, 60'000U);
  EXPECT_EQ(largest, 6'400U);
  EXPECT_EQ(bench.told(), "sent");
}

}  // namespace
}  // namespace penstock
