// Data and ACKs: windows, order, loss, timers.

#include "tests/support/tcp_bench.h"

#include <cerrno>
#include <gtest/gtest.h>

namespace penstock {
namespace {

const TcpOptions SACKED = {.mss = 1'000, .sack_permitted = true};
std::string xs(size_t size) { return std::string(size, 'x'); }

// After a timeout at both ends each sends from an old number: what acknowledges the other must not be in one.
TEST(TcpData, rfc9293_3_10_7_4_an_acknowledgement_bears_the_highest_number_sent) {
  TcpBench bench;
  bench.establish();
  bench.send(std::string(2'500, 'a'));
  ASSERT_EQ(bench.out().size(), 3U);
  bench.pass(seconds(1));
  EXPECT_EQ(bench.out().at(0).header.seq, bench.ack);  // it has gone back
  bench.in(TCP_ACK, bench.seq + 5, bench.ack, "out of order");
  EXPECT_EQ(bench.out().at(0).header.seq, bench.ack + 2'500);
  bench.in(TCP_ACK, bench.seq, bench.ack, "first");
  bench.pass(milliseconds(100));
  for (const SentSegment& segment : bench.out()) {
    if (segment.data.empty()) {
      EXPECT_EQ(segment.header.seq, bench.ack + 2'500);
    }
  }
  bench.told();
}

// The answers to a turn's frames go out before the next frames are looked at, so that both ends of a wire work at once.
TEST(NetStack, a_turn_takes_a_burst_of_frames_and_leaves_the_rest_for_the_next) {
  TcpBench bench;
  bench.establish();
  for (uint32_t i = 0; i < 48; ++i)
    bench.device.incoming.push_back(bench.segment(TCP_ACK, bench.seq + i, bench.ack, "x"));
  const uint64_t before = bench.stack->counters().frames_received;
  NetEvent events[64];
  size_t received = bench.stack->poll(bench.now, events);
  EXPECT_EQ(bench.stack->counters().frames_received - before, 32U);
  EXPECT_EQ(received, 32U);
  for (size_t i = 0; i < received; ++i) bench.stack->release(events[i].buffer);
  received = bench.stack->poll(bench.now, events);
  EXPECT_EQ(received, 16U);
  for (size_t i = 0; i < received; ++i) bench.stack->release(events[i].buffer);
}

TEST(TcpReceive, rfc9293_3_8_6_3_a_single_segment_is_acknowledged_within_the_delay_and_the_second_at_once) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_ACK, bench.seq, bench.ack, "abc");
  EXPECT_TRUE(bench.out().empty());
  bench.pass(milliseconds(45));
  auto acks = bench.out();
  ASSERT_EQ(acks.size(), 1U);
  EXPECT_EQ(acks[0].header.ack, bench.seq + 3);
  bench.in(TCP_ACK, bench.seq + 3, bench.ack, "def");
  bench.in(TCP_ACK, bench.seq + 6, bench.ack, "ghi");
  acks = bench.out();
  ASSERT_EQ(acks.size(), 1U);
  EXPECT_EQ(acks[0].header.ack, bench.seq + 9);
  EXPECT_EQ(bench.told(), "received:abc received:def received:ghi");
  EXPECT_EQ(bench.stack->counters().fast_path, 3U);
}

TEST(TcpReceive, another_window_takes_the_fast_path_and_a_closed_one_does_not) {
  TcpBench bench;
  bench.establish();
  bench.window = 2'000;
  bench.in(TCP_ACK, bench.seq, bench.ack, "abc");
  EXPECT_EQ(bench.stack->counters().fast_path, 1U);
  bench.send(std::string(3'000, 'x'));
  EXPECT_EQ(bench.out().size(), 2U);  // as far as the window
  bench.window = 3'000;
  bench.in(TCP_ACK, bench.seq + 3, bench.ack, "def");  // what waits goes, though nothing is acknowledged
  EXPECT_EQ(bench.stack->counters().fast_path, 2U);
  const auto rest = bench.out();
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0].header.seq, bench.ack + 2'000);
  bench.window = 0;
  bench.in(TCP_ACK, bench.seq + 6, bench.ack + 3'000, "ghi");
  bench.window = 500;
  bench.in(TCP_ACK, bench.seq + 9, bench.ack + 3'000, "jkl");
  EXPECT_EQ(bench.stack->counters().fast_path, 2U);
  bench.in(TCP_ACK, bench.seq + 12, bench.ack + 3'000, "mno");
  EXPECT_EQ(bench.stack->counters().fast_path, 3U);
  EXPECT_EQ(bench.told(), "received:abc received:def sent received:ghi received:jkl received:mno");
}

TEST(TcpReceive, rfc5681_4_2_out_of_order_is_acknowledged_at_once_and_delivered_in_order) {
  TcpBench bench;
  bench.establish(SACKED);
  bench.in(TCP_ACK, bench.seq + 3, bench.ack, "def");
  bench.in(TCP_ACK, bench.seq + 9, bench.ack, "jkl");
  const auto acks = bench.out();
  ASSERT_EQ(acks.size(), 2U);
  EXPECT_EQ(acks[0].header.ack, bench.seq);
  // RFC 2018 section 4: the block of the latest arrival first
  ASSERT_EQ(acks[1].options.sack_count, 2);
  EXPECT_EQ(acks[1].options.sacks[0].left, bench.seq + 9);
  EXPECT_EQ(acks[1].options.sacks[1].right, bench.seq + 6);
  EXPECT_EQ(bench.told(), "");
  bench.in(TCP_ACK, bench.seq, bench.ack, "abcd");  // overlaps
  EXPECT_EQ(bench.told(), "received:abc received:def");
  EXPECT_EQ(bench.out().at(0).header.ack, bench.seq + 6);
  bench.in(TCP_ACK, bench.seq + 4, bench.ack, "efghijklmno");
  EXPECT_EQ(bench.told(), "received:ghi received:jkl");
}

// Who overlaps writes other bytes than those that are held: each byte is that of who came first.
TEST(TcpReceive, out_of_order_what_came_first_stays_and_what_overlaps_it_is_cut_on_both_sides) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_ACK, bench.seq + 3, bench.ack, "defg");
  bench.in(TCP_ACK, bench.seq + 9, bench.ack, "jkl");
  bench.in(TCP_ACK, bench.seq + 5, bench.ack, "FGHIJKLM");
  bench.in(TCP_ACK, bench.seq + 4, bench.ack, "EF");  // all of it is there
  bench.out();
  bench.in(TCP_ACK, bench.seq, bench.ack, "abcDEFGHIJKLM");
  EXPECT_EQ(bench.told(), "received:abc received:defg received:HI received:jkl");
  EXPECT_EQ(bench.out().at(0).header.ack, bench.seq + 12);
}

TEST(TcpReceive, rfc9293_3_10_7_4_nothing_comes_behind_a_fin) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_ACK | TCP_FIN, bench.seq + 3, bench.ack);  // ahead of the bytes before it
  bench.in(TCP_ACK, bench.seq + 3, bench.ack, "xyz");
  EXPECT_EQ(bench.dropped(DropReason::TCP_OUT_OF_WINDOW), 1U);
  bench.out();
  bench.in(TCP_ACK, bench.seq, bench.ack, "abcxyz");
  EXPECT_EQ(bench.told(), "received:abc peer-closed");
  EXPECT_EQ(bench.out().at(0).header.ack, bench.seq + 4);
  bench.in(TCP_ACK, bench.seq + 4, bench.ack, "xyz");
  EXPECT_EQ(bench.told(), "");
}

TEST(TcpReceive, rfc9293_3_10_7_4_old_and_far_segments_are_answered_by_ack) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_ACK, bench.seq - 10, bench.ack, "old");
  EXPECT_EQ(bench.out().size(), 1U);
  bench.in(TCP_ACK, bench.seq + 70'000, bench.ack, "far");
  EXPECT_EQ(bench.out().size(), 1U);
  EXPECT_EQ(bench.dropped(DropReason::TCP_OLD_DUPLICATE), 1U);
  EXPECT_EQ(bench.dropped(DropReason::TCP_OUT_OF_WINDOW), 1U);
  bench.in(TCP_ACK, bench.seq - 2, bench.ack, "..new");
  EXPECT_EQ(bench.told(), "received:new");
}

TEST(TcpReceive, urgent_data_is_data) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_ACK | TCP_URG, bench.seq, bench.ack, "abc");
  EXPECT_EQ(bench.told(), "received:abc");
}

TEST(TcpReceive, the_window_closes_by_what_is_not_released_and_opens_again) {
  NetConfig config = TcpBench::default_config();
  config.limits.receive_window_bytes = 4'000;
  TcpBench bench(config);
  bench.establish();
  for (uint32_t i = 0; i < 4; ++i) bench.in(TCP_ACK, bench.seq + i * 1'000, bench.ack, xs(1'000));
  EXPECT_EQ(bench.out().back().header.window, 0);
  bench.in(TCP_ACK, bench.seq + 4'000, bench.ack, xs(1));
  EXPECT_EQ(bench.out().back().header.window, 0);
  bench.told();
  bench.stack->submit();
  const auto update = bench.out();
  ASSERT_FALSE(update.empty());
  EXPECT_GT(update.back().header.window, 900);
}

TEST(TcpReceive, with_receiving_off_nothing_is_handed_out) {
  TcpBench bench;
  bench.establish();
  bench.stack->set_receiving(bench.conn, false);
  bench.in(TCP_ACK, bench.seq, bench.ack, "abc");
  bench.in(TCP_ACK | TCP_FIN, bench.seq + 3, bench.ack);
  EXPECT_EQ(bench.told(), "");
  bench.stack->set_receiving(bench.conn, true);
  bench.turn();
  EXPECT_EQ(bench.told(), "received:abc peer-closed");
}

TEST(TcpPaws, rfc7323_5_an_older_timestamp_is_dropped_and_a_missing_one) {
  TcpBench bench;
  bench.establish({.mss = 1'000, .has_timestamps = true, .ts_val = 100});
  const TcpOptions now = {.has_timestamps = true, .ts_val = 200};
  const TcpOptions old = {.has_timestamps = true, .ts_val = 199};
  bench.in(TCP_ACK, bench.seq, bench.ack, "abc", now);
  bench.pass(milliseconds(50));
  bench.out();
  bench.in(TCP_ACK, bench.seq + 3, bench.ack, "def", old);
  EXPECT_EQ(bench.out().size(), 1U);
  bench.in(TCP_ACK, bench.seq + 3, bench.ack, "def");
  EXPECT_EQ(bench.told(), "received:abc");
  EXPECT_EQ(bench.dropped(DropReason::TCP_PAWS), 1U);
  EXPECT_EQ(bench.dropped(DropReason::TCP_TIMESTAMP_MISSING), 1U);
}

TEST(TcpSend, a_segment_refers_to_the_callers_memory_until_it_is_acknowledged) {
  TcpBench bench;
  bench.establish();
  bench.send(xs(2'500), 9);
  const auto segments = bench.out();
  ASSERT_EQ(segments.size(), 3U);
  const auto* begin = reinterpret_cast<const uint8_t*>(bench.memory[0]->data());
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(segments[i].memory, begin + i * 1'000);
  EXPECT_EQ(segments[2].data.size(), 500U);
  EXPECT_TRUE(segments[2].has(TCP_PSH));
  bench.in(TCP_ACK, bench.seq, bench.ack + 2'499);
  EXPECT_EQ(bench.told(), "");
  bench.in(TCP_ACK, bench.seq, bench.ack + 2'500);
  EXPECT_EQ(bench.told(), "sent");
  EXPECT_EQ(bench.stack->lent().pieces, 0U);
}

TEST(TcpSend, memory_is_not_free_while_the_device_reads_it) {
  TcpBench bench;
  bench.device.keeps_holds = true;
  bench.establish();
  bench.send("abc");
  bench.in(TCP_ACK, bench.seq, bench.ack + 3);
  EXPECT_EQ(bench.told(), "");
  bench.device.keeps_holds = false;
  bench.turn();
  EXPECT_EQ(bench.told(), "sent");
}

TEST(TcpSend, memory_of_many_frames_is_free_in_the_turn_in_which_the_device_has_done_with_all) {
  TcpBench bench;
  bench.device.keeps_holds = true;
  bench.establish();
  bench.send(std::string(200'000, 'x'));
  for (uint32_t at = bench.ack; at != bench.ack + 200'000;) {
    for (const SentSegment& segment : bench.out()) {
      at = std::max(at, segment.header.seq + static_cast<uint32_t>(segment.data.size()));
    }
    bench.in(TCP_ACK, bench.seq, at);
  }
  EXPECT_EQ(bench.told(), "");
  ASSERT_EQ(bench.device.held.size(), 200U);
  bench.device.keeps_holds = false;
  bench.turn();
  EXPECT_EQ(bench.told(), "sent");
}

TEST(TcpSend, sc13_known_sums_spare_every_byte) {
  TcpBench bench;
  bench.establish();
  bench.memory.push_back(std::make_unique<std::string>());
  for (int i = 0; i < 2'500; ++i) bench.memory[0]->push_back(static_cast<char>(i * 7));
  std::vector<uint16_t> sums;
  const auto bytes = std::span(reinterpret_cast<const uint8_t*>(bench.memory[0]->data()), 2'500);
  for (size_t at = 0; at < 2'500; at += 1'000)
    sums.push_back(internet_sum(bytes.subspan(at, std::min<size_t>(1'000, 2'500 - at))).value);
  const NetPart part{.data = bytes.data(), .size = 2'500, .sums = sums.data(), .stride = 1'000};
  ASSERT_TRUE(bench.stack->send(bench.conn, {&part, 1}, 1));
  bench.stack->submit();
  const auto segments = bench.out();  // which checks the checksums
  ASSERT_EQ(segments.size(), 3U);
  EXPECT_EQ(bench.stack->counters().payload_sums_reused, 3U);
  EXPECT_EQ(bench.stack->counters().payload_bytes_summed, 0U);
  EXPECT_EQ(segments[0].data + segments[1].data + segments[2].data, *bench.memory[0]);
}

TEST(TcpSend, rfc5681_3_2_three_duplicate_acks_send_again_without_waiting) {
  TcpBench bench;
  bench.establish();
  bench.send(xs(5'000));
  ASSERT_EQ(bench.out().size(), 5U);
  for (int i = 0; i < 2; ++i) bench.in(TCP_ACK, bench.seq, bench.ack);
  EXPECT_TRUE(bench.out().empty());
  bench.in(TCP_ACK, bench.seq, bench.ack);
  const auto again = bench.out();
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].header.seq, bench.ack);
  EXPECT_EQ(again[0].data.size(), 1'000U);
}

TEST(TcpSend, rfc6582_3_2_a_partial_ack_sends_the_next_and_a_full_one_ends_the_recovery) {
  TcpBench bench;
  bench.establish();
  bench.send(xs(5'000));
  for (int i = 0; i < 3; ++i) bench.in(TCP_ACK, bench.seq, bench.ack);
  bench.out();
  bench.in(TCP_ACK, bench.seq, bench.ack + 2'000);
  EXPECT_EQ(bench.out().at(0).header.seq, bench.ack + 2'000);
  EXPECT_EQ(bench.stack->counters().recoveries, 1U);
  bench.in(TCP_ACK, bench.seq, bench.ack + 5'000);
  EXPECT_EQ(bench.told(), "sent");
  bench.send(xs(5'000));
  bench.out();
  for (int i = 0; i < 3; ++i) bench.in(TCP_ACK, bench.seq, bench.ack + 5'000);
  EXPECT_EQ(bench.stack->counters().recoveries, 2U);
}

TEST(TcpSend, rfc3042_the_first_two_duplicate_acks_let_a_new_segment_go_each) {
  TcpBench bench;
  bench.establish();
  bench.send(xs(14'000));
  EXPECT_EQ(bench.out().size(), 10U);  // RFC 6928
  bench.in(TCP_ACK, bench.seq, bench.ack);
  EXPECT_EQ(bench.out().at(0).header.seq, bench.ack + 10'000);
  bench.in(TCP_ACK, bench.seq, bench.ack);
  EXPECT_EQ(bench.out().at(0).header.seq, bench.ack + 11'000);
}

// What an echo says of a segment that was sent twice cannot be longer than it was on the way.
TEST(TcpSend, rfc7323_4_an_invented_echo_does_not_put_off_the_next_timeout) {
  for (const uint32_t claimed_ms : {10'000U, 300'000U}) {
    TcpBench bench;
    bench.establish({.mss = 1'000, .has_timestamps = true, .ts_val = 100});
    bench.send("abc");
    bench.out();
    bench.pass(milliseconds(300));
    const auto again = bench.out();
    ASSERT_EQ(again.size(), 1U);
    bench.in(TCP_ACK, bench.seq, bench.ack + 3, {},
             {.has_timestamps = true, .ts_val = 101, .ts_ecr = again[0].options.ts_val - claimed_ms});
    bench.send("def");
    bench.out();
    bench.pass(milliseconds(2'000));
    EXPECT_GE(bench.stack->counters().timeouts, 2U) << claimed_ms;
  }
}

// The peer may have thrown away what it had reported.
TEST(TcpSend, rfc2018_8_a_timeout_forgets_what_was_sacked) {
  TcpBench bench;
  bench.establish(SACKED);
  bench.send(xs(4'000));
  ASSERT_EQ(bench.out().size(), 4U);
  TcpOptions options;
  options.sacks[options.sack_count++] = {bench.ack + 1'000, bench.ack + 2'000};
  bench.in(TCP_ACK, bench.seq, bench.ack, {}, options);
  EXPECT_EQ(bench.stack->lent().scoreboards, 1U);
  bench.pass(milliseconds(300));
  ASSERT_EQ(bench.stack->counters().timeouts, 1U);
  EXPECT_EQ(bench.out().at(0).header.seq, bench.ack);
  EXPECT_EQ(bench.stack->lent().scoreboards, 0U);
  bench.in(TCP_ACK, bench.seq, bench.ack + 1'000);
  EXPECT_EQ(bench.out().at(0).header.seq, bench.ack + 1'000);
}

TEST(TcpSend, rfc6675_only_what_is_missing_is_sent_again) {
  TcpBench bench;
  bench.establish(SACKED);
  bench.send(xs(10'000));
  ASSERT_EQ(bench.out().size(), 10U);
  // 0 and 3 are lost.
  const auto sack = [&](std::initializer_list<SackBlock> blocks) {
    TcpOptions options;
    for (const SackBlock& block : blocks)
      options.sacks[options.sack_count++] = {bench.ack + block.left, bench.ack + block.right};
    bench.in(TCP_ACK, bench.seq, bench.ack, {}, options);
  };
  sack({{1'000, 2'000}});
  sack({{1'000, 3'000}});
  sack({{4'000, 5'000}, {1'000, 3'000}});
  auto again = bench.out();
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].header.seq, bench.ack);
  sack({{4'000, 6'000}, {1'000, 3'000}});
  sack({{4'000, 7'000}, {1'000, 3'000}});
  sack({{4'000, 10'000}, {1'000, 3'000}});
  again = bench.out();
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].header.seq, bench.ack + 3'000);
  bench.in(TCP_ACK, bench.seq, bench.ack + 10'000);
  EXPECT_EQ(bench.told(), "sent");
  EXPECT_EQ(bench.stack->lent().scoreboards, 0U);
  EXPECT_EQ(bench.stack->counters().segments_retransmitted, 2U);
}

TEST(TcpSend, rfc6298_5_the_timer_sends_the_first_again_and_backs_off) {
  TcpBench bench;
  bench.establish();
  bench.send(xs(3'000));
  ASSERT_EQ(bench.out().size(), 3U);
  bench.pass(milliseconds(205));
  auto again = bench.out();
  ASSERT_EQ(again.size(), 1U);  // a window of one segment
  EXPECT_EQ(again[0].header.seq, bench.ack);
  bench.pass(milliseconds(200));
  EXPECT_TRUE(bench.out().empty());
  bench.pass(milliseconds(210));
  EXPECT_EQ(bench.out().size(), 1U);
  bench.in(TCP_ACK, bench.seq, bench.ack + 3'000);
  EXPECT_EQ(bench.told(), "sent");
}

TEST(TcpSend, rfc9293_3_8_3_after_r2_the_connection_has_failed) {
  TcpBench bench;
  bench.establish();
  bench.send("abc");
  bench.pass(seconds(600));
  ASSERT_EQ(bench.events.size(), 1U);
  EXPECT_EQ(bench.events[0].error, ETIMEDOUT);
  EXPECT_FALSE(bench.stack->close(bench.conn));
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

TEST(TcpSend, rfc9293_3_8_6_1_a_closed_window_is_probed_by_one_byte) {
  TcpBench bench;
  bench.establish();
  bench.window = 0;
  bench.in(TCP_ACK, bench.seq + 0, bench.ack);
  bench.in(TCP_ACK | TCP_PSH, bench.seq, bench.ack, "q");
  bench.send("abc");
  bench.pass(milliseconds(50));  // the delayed ACK of "q"
  bench.out();
  bench.pass(milliseconds(200));
  auto probe = bench.out();
  ASSERT_EQ(probe.size(), 1U);
  EXPECT_EQ(probe[0].data, "a");
  bench.in(TCP_ACK, bench.seq + 1, bench.ack);  // refused
  bench.pass(milliseconds(500));
  EXPECT_EQ(bench.out().size(), 1U);
  bench.window = 10;
  bench.in(TCP_ACK, bench.seq + 1, bench.ack);
  EXPECT_EQ(bench.out().at(0).data, "abc");
}

TEST(TcpSend, a_window_that_stays_shut_ends_the_connection_in_bounded_time) {
  TcpBench bench;
  bench.establish();
  bench.window = 0;
  bench.in(TCP_ACK | TCP_PSH, bench.seq, bench.ack, "q");
  bench.told();
  bench.send("abc");
  for (int i = 0; i < 1'000 && bench.events.empty(); ++i) {
    bench.pass(seconds(1));
    bench.in(TCP_ACK, bench.seq + 1, bench.ack);
  }
  ASSERT_EQ(bench.told(), "failed");
  EXPECT_LE((bench.now - MonoTime{1'000'000'000'000}).s(), 8'000);
}

TEST(TcpSend, at_the_limit_of_pieces_send_says_no_and_later_yes) {
  TcpBench bench;
  bench.establish();
  std::vector<NetPart> parts(32, NetPart{.data = "x", .size = 1});
  EXPECT_TRUE(bench.stack->send(bench.conn, parts, 1));
  EXPECT_TRUE(bench.stack->send(bench.conn, parts, 2));
  EXPECT_FALSE(bench.stack->send(bench.conn, parts, 3));
  bench.stack->submit();
  bench.in(TCP_ACK, bench.seq, bench.ack + 32);
  EXPECT_EQ(bench.told(), "sent");
  EXPECT_TRUE(bench.stack->send(bench.conn, parts, 3));
}

TEST(TcpReceive, at_the_limit_of_holds_segments_are_dropped_and_counted) {
  TcpBench bench;
  bench.establish();
  for (uint32_t i = 0; i < 20; ++i) bench.in(TCP_ACK, bench.seq + 1 + 2 * i, bench.ack, "x");
  EXPECT_EQ(bench.dropped(DropReason::TCP_REASSEMBLY_FULL), 4U);  // half of 32 are held
  for (uint32_t i = 0; i < 20; ++i) bench.in(TCP_ACK, bench.seq + 2 * i, bench.ack, "yx");
  EXPECT_EQ(bench.stack->lent().holds, 32U);
  EXPECT_GE(bench.dropped(DropReason::TCP_RECEIVE_FULL), 1U);
  EXPECT_EQ(bench.told().substr(0, 21), "received:y received:x");
  EXPECT_EQ(bench.stack->lent().holds, 0U);
}

}  // namespace
}  // namespace penstock
