// Opening: LISTEN, SYN-SENT, SYN-RECEIVED, SYN cookies, and the limits of all.

#include "tests/support/tcp_bench.h"

#include <cerrno>
#include <gtest/gtest.h>

namespace penstock {
namespace {

const TcpOptions ALL = {.mss = 1'460,
                        .has_window_scale = true,
                        .window_scale = 7,
                        .sack_permitted = true,
                        .has_timestamps = true,
                        .ts_val = 100};

TEST(TcpListen, rfc9293_3_10_7_2_syn_is_answered_by_syn_ack_and_the_ack_opens) {
  TcpBench bench;
  bench.in(TCP_SYN, 5'000, 0, {}, ALL);
  const auto answer = bench.out();
  ASSERT_EQ(answer.size(), 1U);
  EXPECT_TRUE(answer[0].has(TCP_SYN | TCP_ACK));
  EXPECT_EQ(answer[0].header.ack, 5'001U);
  EXPECT_EQ(answer[0].options.mss, 1'460);
  EXPECT_TRUE(answer[0].options.has_window_scale && answer[0].options.sack_permitted &&
              answer[0].options.has_timestamps);
  EXPECT_EQ(answer[0].options.ts_ecr, 100U);
  EXPECT_EQ(answer[0].header.window, 60'000);
  EXPECT_EQ(bench.stack->lent().half_open, 1U);
  bench.in(TCP_ACK, 5'001, answer[0].header.seq + 1, {},
           {.has_timestamps = true, .ts_val = 101, .ts_ecr = answer[0].options.ts_val});
  EXPECT_EQ(bench.stack->lent().half_open, 0U);
  EXPECT_EQ(bench.told(), "accepted");
}

TEST(TcpListen, a_listener_of_one_version_does_not_hear_the_other) {
  TcpBench bench;
  ASSERT_FALSE(bench.stack->listen(80, 8, NetStack::ListenOn::V4)) << "80 is taken for both";
  ASSERT_TRUE(bench.stack->listen(81, 8, NetStack::ListenOn::V6));
  bench.in(TCP_SYN, 5'000, 0, {}, ALL, 81);
  EXPECT_EQ(bench.out().at(0).header.flags, TCP_RST | TCP_ACK);
  ASSERT_TRUE(bench.stack->listen(81, 9, NetStack::ListenOn::V4));
  bench.in(TCP_SYN, 5'000, 0, {}, ALL, 81);
  EXPECT_TRUE(bench.out().at(0).has(TCP_SYN | TCP_ACK));
  bench.stack->stop_listening(9);
  ++bench.peer_port;
  bench.in(TCP_SYN, 5'000, 0, {}, ALL, 81);
  EXPECT_EQ(bench.out().at(0).header.flags, TCP_RST | TCP_ACK);
}

TEST(TcpListen, syns_beyond_the_owners_room_are_dropped) {
  TcpBench bench;
  bench.stack->set_accept_room(1);
  bench.establish();
  ++bench.peer_port;
  bench.in(TCP_SYN, 5'000, 0, {}, ALL);
  EXPECT_TRUE(bench.out().empty());
  bench.stack->set_accept_room(1);
  bench.in(TCP_SYN, 5'000, 0, {}, ALL);
  EXPECT_EQ(bench.out().size(), 1U);
  ++bench.peer_port;
  bench.in(TCP_SYN, 5'000, 0, {}, ALL);
  EXPECT_TRUE(bench.out().empty()) << "the room is for the one that is half open";
}

// SynAdmission says when; here it is told, and heard.
TEST(TcpListen, under_overload_a_syn_is_dropped_unanswered_and_heard_when_no_frames_wait) {
  TcpBench bench;
  const auto syn = [&] {
    ++bench.peer_port;
    bench.in(TCP_SYN, 5'000, 0);
    return bench.out().at(0).header.seq;
  };
  for (int i = 0; i < 100; ++i) {
    const uint32_t iss = syn();
    if (i % 3 == 0) {  // it is given up
      bench.in(TCP_RST, 5'001, 0);
      continue;
    }
    bench.in(TCP_ACK, 5'001, iss + 1);
    (void)bench.stack->reset(bench.events.back().conn);
    bench.turn();
    bench.out();
  }
  for (int i = 0; i < 4; ++i) (void)syn();
  const auto wait = [&](size_t frames) {
    for (size_t i = 0; i < frames; ++i) bench.device.incoming.push_back(bench.segment(TCP_RST, 1, 0, {}, {}, 81));
  };
  const auto drain = [&] {
    while (!bench.device.incoming.empty()) bench.turn();
  };
  wait(size_t{32} * 9);
  drain();
  bench.pass(milliseconds(101));
  bench.out();
  ++bench.peer_port;
  wait(size_t{32} * 8);
  bench.device.incoming.push_back(bench.segment(TCP_SYN, 5'000, 0));
  wait(31);
  drain();
  EXPECT_EQ(bench.dropped(DropReason::TCP_OVERLOAD), 1U);
  EXPECT_TRUE(bench.out().empty());
  bench.turn();
  bench.in(TCP_SYN, 5'000, 0);
  EXPECT_EQ(bench.out().size(), 1U);
}

TEST(TcpListen, options_that_the_syn_did_not_offer_are_not_in_the_answer) {
  TcpBench bench;
  bench.in(TCP_SYN, 5'000, 0, {}, {.mss = 1'460});
  const auto answer = bench.out();
  ASSERT_EQ(answer.size(), 1U);
  EXPECT_FALSE(answer[0].options.has_window_scale || answer[0].options.sack_permitted ||
               answer[0].options.has_timestamps);
}

TEST(TcpListen, rfc9293_3_10_7_1_a_closed_port_answers_by_a_rst_that_fits) {
  TcpBench bench;
  bench.in(TCP_SYN, 5'000, 0, "abc", {}, 81);
  auto answer = bench.out();
  ASSERT_EQ(answer.size(), 1U);
  EXPECT_EQ(answer[0].header.flags, TCP_RST | TCP_ACK);
  EXPECT_EQ(answer[0].header.seq, 0U);
  EXPECT_EQ(answer[0].header.ack, 5'004U);
  bench.in(TCP_ACK, 5'000, 77, "abc", {}, 81);
  answer = bench.out();
  ASSERT_EQ(answer.size(), 1U);
  EXPECT_EQ(answer[0].header.flags, TCP_RST);
  EXPECT_EQ(answer[0].header.seq, 77U);
  bench.in(TCP_RST, 5'000, 0, {}, {}, 81);
  EXPECT_TRUE(bench.out().empty());
  EXPECT_EQ(bench.dropped(DropReason::TCP_NO_LISTENER), 1U);
  EXPECT_EQ(bench.dropped(DropReason::TCP_NO_CONNECTION), 2U);
}

TEST(TcpListen, up7_between_two_servers_a_syn_is_not_refused_and_comes_again) {
  TcpBench bench;
  bench.stack->stop_listening(7);
  bench.stack->set_succession(true);
  bench.in(TCP_SYN, 5'000, 0);
  EXPECT_TRUE(bench.out().empty());
  EXPECT_EQ(bench.dropped(DropReason::TCP_ACCEPT_PAUSED), 1U);
  bench.in(TCP_ACK, 5'000, 77);  // what belongs to a connection that is gone is told so
  EXPECT_EQ(bench.out().size(), 1U);
  ASSERT_TRUE(bench.stack->listen(TcpBench::PORT, 8));
  bench.in(TCP_SYN, 5'000, 0);
  EXPECT_EQ(bench.out().at(0).header.flags, TCP_SYN | TCP_ACK);
}

TEST(TcpListen, rsts_are_limited) {
  NetConfig config = TcpBench::default_config();
  config.limits.replies_per_second = 3;
  TcpBench bench(config);
  for (int i = 0; i < 10; ++i) bench.in(TCP_ACK, 5'000, 77);
  EXPECT_EQ(bench.out().size(), 3U);
  EXPECT_EQ(bench.stack->counters().resets_withheld, 7U);
}

TEST(TcpListen, syn_with_fin_is_no_syn) {
  TcpBench bench;
  bench.in(TCP_SYN | TCP_FIN, 5'000, 0);
  EXPECT_TRUE(bench.out().empty());
  EXPECT_EQ(bench.dropped(DropReason::TCP_LISTEN_FLAGS), 1U);
}

TEST(TcpListen, a_paused_listener_drops_syns) {
  TcpBench bench;
  bench.stack->pause_accept(true);
  bench.in(TCP_SYN, 5'000, 0);
  EXPECT_TRUE(bench.out().empty());
  EXPECT_EQ(bench.dropped(DropReason::TCP_ACCEPT_PAUSED), 1U);
}

TEST(TcpSynReceived, a_repeated_syn_is_answered_again) {
  TcpBench bench;
  bench.in(TCP_SYN, 5'000, 0, {}, ALL);
  const uint32_t iss = bench.out()[0].header.seq;
  bench.in(TCP_SYN, 5'000, 0, {}, ALL);
  const auto again = bench.out();
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].header.seq, iss);
  EXPECT_TRUE(again[0].has(TCP_SYN | TCP_ACK));
}

TEST(TcpSynReceived, rfc6298_5_5_syn_ack_is_repeated_with_back_off_and_given_up) {
  TcpBench bench;
  bench.in(TCP_SYN, 5'000, 0, {}, ALL);
  bench.out();
  bench.pass(milliseconds(1'010));
  EXPECT_EQ(bench.out().size(), 1U);
  bench.pass(milliseconds(1'000));
  EXPECT_EQ(bench.out().size(), 0U);
  bench.pass(milliseconds(1'010));
  EXPECT_EQ(bench.out().size(), 1U);
  bench.pass(seconds(120));
  EXPECT_EQ(bench.out().size(), 3U);  // five in all
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
  EXPECT_EQ(bench.told(), "");
}

TEST(TcpSynReceived, rst_ends_it_and_an_ack_of_something_else_is_answered_by_rst) {
  TcpBench bench;
  bench.in(TCP_SYN, 5'000, 0, {}, {.mss = 1'000});
  const uint32_t iss = bench.out()[0].header.seq;
  bench.in(TCP_ACK, 5'001, iss + 2);
  const auto answer = bench.out();
  ASSERT_EQ(answer.size(), 1U);
  EXPECT_EQ(answer[0].header.flags, TCP_RST);
  EXPECT_EQ(answer[0].header.seq, iss + 2);
  bench.in(TCP_RST, 5'001, 0);
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
  EXPECT_EQ(bench.dropped(DropReason::TCP_SYN_RECEIVED_ACK), 1U);
}

TEST(TcpSynCookie, rfc4987_half_open_connections_are_bounded_and_who_answers_is_let_in) {
  NetConfig config = TcpBench::default_config();
  config.limits.half_open_max = 2;
  TcpBench bench(config);
  std::vector<SentSegment> answers;
  for (uint16_t port = 1; port <= 6; ++port) {
    bench.peer_port = port;
    bench.in(TCP_SYN, 5'000, 0, {}, ALL);
    answers.push_back(bench.out().at(0));
  }
  EXPECT_EQ(bench.stack->lent().half_open, 2U);
  EXPECT_EQ(bench.stack->counters().syn_cookies_sent, 4U);
  bench.pass(seconds(30));
  EXPECT_TRUE(answers[5].options.has_window_scale && answers[5].options.sack_permitted);
  const TcpOptions later = {.has_timestamps = true, .ts_val = 130, .ts_ecr = answers[5].options.ts_val};
  bench.in(TCP_ACK | TCP_PSH, 5'001, answers[5].header.seq + 1, "hello", later);
  EXPECT_EQ(bench.told(), "accepted received:hello");
  EXPECT_EQ(bench.stack->counters().syn_cookies_accepted, 1U);
}

TEST(TcpSynCookie, rfc4987_a_guess_is_answered_by_rst) {
  NetConfig config = TcpBench::default_config();
  config.limits.half_open_max = 0;
  TcpBench bench(config);
  bench.in(TCP_SYN, 5'000, 0, {}, ALL);
  const SentSegment answer = bench.out().at(0);
  bench.in(TCP_ACK, 5'001, answer.header.seq + 2, {}, {.has_timestamps = true});
  EXPECT_EQ(bench.out().at(0).header.flags, TCP_RST);
  EXPECT_EQ(bench.dropped(DropReason::TCP_COOKIE_BAD), 1U);
  bench.pass(seconds(200));
  bench.in(TCP_ACK, 5'001, answer.header.seq + 1, {}, {.has_timestamps = true});  // too late
  EXPECT_EQ(bench.out().at(0).header.flags, TCP_RST);
  EXPECT_EQ(bench.told(), "");
}

TEST(TcpLimits, syns_beyond_the_last_slot_are_dropped_and_counted) {
  TcpBench bench;
  for (uint16_t port = 1; port <= 16; ++port) {
    bench.peer_port = port;
    bench.establish();
  }
  bench.peer_port = 17;
  bench.in(TCP_SYN, 5'000, 0);
  EXPECT_TRUE(bench.out().empty());
  EXPECT_EQ(bench.dropped(DropReason::TCP_CONNECTIONS_FULL), 1U);
}

TEST(TcpConnect, rfc9293_3_10_7_3_syn_sent) {
  TcpBench bench;
  const Handle conn = bench.stack->connect(TcpBench::PEER, 40'000, 1'234);
  bench.stack->submit();
  const SentSegment syn = bench.out().at(0);
  EXPECT_EQ(syn.header.flags, TCP_SYN);
  EXPECT_TRUE(syn.options.sack_permitted && syn.options.has_timestamps && syn.options.has_window_scale);
  bench.in(TCP_ACK, 5'000, syn.header.seq + 7, {}, {}, 1'234);  // of what was not sent
  EXPECT_EQ(bench.out().at(0).header.flags, TCP_RST);
  bench.in(TCP_RST, 5'000, 0, {}, {}, 1'234);  // anybody's
  EXPECT_EQ(bench.told(), "");
  bench.in(TCP_SYN | TCP_ACK, 5'000, syn.header.seq + 1, {}, {.mss = 1'000}, 1'234);
  const SentSegment ack = bench.out().at(0);
  EXPECT_EQ(ack.header.flags, TCP_ACK);
  EXPECT_EQ(ack.header.ack, 5'001U);
  EXPECT_FALSE(ack.options.has_timestamps);
  EXPECT_EQ(bench.told(), "connected");
  EXPECT_EQ(bench.stack->state(conn), TcpState::ESTABLISHED);
}

TEST(TcpConnect, a_refusal_is_told) {
  TcpBench bench;
  const Handle conn = bench.stack->connect(TcpBench::PEER, 40'000, 1'234);
  bench.stack->submit();
  bench.in(TCP_RST | TCP_ACK, 0, bench.out().at(0).header.seq + 1, {}, {}, 1'234);
  ASSERT_EQ(bench.events.size(), 1U);
  EXPECT_EQ(bench.events[0].error, ECONNREFUSED);
  EXPECT_FALSE(bench.stack->close(conn));
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

TEST(TcpConnect, rfc9293_figure_8_simultaneous_open) {
  TcpBench bench;
  const Handle conn = bench.stack->connect(TcpBench::PEER, 40'000, 1'234);
  bench.stack->submit();
  const uint32_t iss = bench.out().at(0).header.seq;
  bench.in(TCP_SYN, 5'000, 0, {}, {.mss = 1'000}, 1'234);
  const SentSegment answer = bench.out().at(0);
  EXPECT_TRUE(answer.has(TCP_SYN | TCP_ACK));
  EXPECT_EQ(answer.header.seq, iss);
  bench.in(TCP_SYN | TCP_ACK, 5'000, iss + 1, {}, {.mss = 1'000}, 1'234);
  EXPECT_EQ(bench.stack->state(conn), TcpState::ESTABLISHED);
  EXPECT_EQ(bench.told(), "connected");
}

TEST(TcpConnect, one_that_nobody_answers_fails_by_time_out) {
  TcpBench bench;
  (void)bench.stack->connect(TcpBench::PEER, 40'000);
  bench.pass(seconds(200));
  EXPECT_EQ(bench.out().size(), 6U);
  ASSERT_EQ(bench.events.size(), 1U);
  EXPECT_EQ(bench.events[0].error, ETIMEDOUT);
}

}  // namespace
}  // namespace penstock
