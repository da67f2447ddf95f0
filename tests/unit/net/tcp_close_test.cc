// Ends: FIN and RST in every state, TIME-WAIT, half-close, and what attackers send (RFC 5961, RFC 1337).

#include "tests/support/tcp_bench.h"

#include <cerrno>
#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(TcpClose, rfc9293_figure_12_the_peer_closes_first) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack, "abc");
  EXPECT_EQ(bench.told(), "received:abc peer-closed");
  EXPECT_EQ(bench.stack->state(bench.conn), TcpState::CLOSE_WAIT);
  EXPECT_EQ(bench.out().at(0).header.ack, bench.seq + 4);
  bench.send("answer");  // half-closed: sending goes on
  EXPECT_EQ(bench.out().at(0).data, "answer");
  EXPECT_TRUE(bench.stack->close(bench.conn));
  bench.stack->submit();
  const SentSegment fin = bench.out().at(0);
  EXPECT_TRUE(fin.has(TCP_FIN));
  EXPECT_EQ(fin.header.seq, bench.ack + 6);
  bench.in(TCP_ACK, bench.seq + 4, bench.ack + 7);
  EXPECT_EQ(bench.told(), "closed");
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

TEST(TcpClose, rfc9293_figure_12_we_close_first_and_wait) {
  TcpBench bench;
  bench.establish();
  EXPECT_FALSE(bench.stack->close(bench.conn));
  bench.stack->submit();
  EXPECT_TRUE(bench.out().at(0).has(TCP_FIN));
  bench.in(TCP_ACK, bench.seq, bench.ack + 1);
  bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack + 1);
  EXPECT_EQ(bench.out().back().header.ack, bench.seq + 1);
  EXPECT_EQ(bench.stack->lent().time_wait, 1U);
  bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack + 1);  // our ACK was lost
  EXPECT_EQ(bench.out().at(0).header.ack, bench.seq + 1);
  bench.pass(seconds(59));
  EXPECT_EQ(bench.stack->lent().time_wait, 1U);
  bench.pass(seconds(2));
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

TEST(TcpClose, rfc9293_figure_13_both_close_at_once) {
  TcpBench bench;
  bench.establish();
  bench.stack->shutdown_send(bench.conn);
  bench.stack->submit();
  bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack);
  EXPECT_EQ(bench.stack->state(bench.conn), TcpState::CLOSING);
  bench.in(TCP_ACK, bench.seq + 1, bench.ack + 1);
  EXPECT_EQ(bench.stack->state(bench.conn), TcpState::TIME_WAIT);
  EXPECT_EQ(bench.told(), "peer-closed");
  EXPECT_FALSE(bench.stack->close(bench.conn));
  bench.pass(seconds(61));
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

TEST(TcpClose, a_fin_that_overtakes_its_data_counts_when_the_data_is_there) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_ACK | TCP_FIN, bench.seq + 3, bench.ack, "def");
  EXPECT_EQ(bench.told(), "");
  bench.in(TCP_ACK, bench.seq, bench.ack, "abc");
  EXPECT_EQ(bench.told(), "received:abc received:def peer-closed");
}

TEST(TcpClose, a_lost_fin_is_sent_again) {
  TcpBench bench;
  bench.establish();
  bench.stack->close(bench.conn);
  bench.stack->submit();
  bench.out();
  bench.pass(milliseconds(210));
  EXPECT_TRUE(bench.out().at(0).has(TCP_FIN));
}

TEST(TcpClose, data_for_a_closed_connection_is_answered_by_rst) {
  TcpBench bench;
  bench.establish();
  bench.stack->close(bench.conn);
  bench.stack->submit();
  bench.out();
  bench.in(TCP_ACK, bench.seq, bench.ack + 1, "late");
  EXPECT_EQ(bench.dropped(DropReason::TCP_DATA_AFTER_CLOSE), 1U);
  EXPECT_TRUE(bench.out().at(0).has(TCP_RST));
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

TEST(TcpClose, rfc2525_2_17_closing_over_unread_bytes_is_a_rst) {
  TcpBench bench;
  bench.establish();
  bench.stack->set_receiving(bench.conn, false);
  bench.in(TCP_ACK, bench.seq, bench.ack, "abc");
  bench.stack->close(bench.conn);
  bench.turn();
  EXPECT_TRUE(bench.out().back().has(TCP_RST));
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

TEST(TcpClose, reset_sends_rst_and_frees_at_once) {
  TcpBench bench;
  bench.establish();
  bench.send("abc");
  bench.out();
  EXPECT_FALSE(bench.stack->reset(bench.conn) && false);
  bench.turn();
  EXPECT_EQ(bench.out().at(0).header.flags, TCP_RST | TCP_ACK);
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

TEST(TcpClose, an_orphan_that_hears_nothing_goes_in_bounded_time) {
  TcpBench bench;
  bench.establish();
  bench.stack->close(bench.conn);
  bench.stack->submit();
  bench.in(TCP_ACK, bench.seq, bench.ack + 1);  // FIN-WAIT-2, and then silence
  bench.pass(seconds(130));
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

// A FIN of the peer's that comes in `state`.
struct FinIn {
  TcpState state;
  bool acknowledges_ours;  // the FIN that we have sent, if we have
  TcpState after;
  const char* told;
};

TEST(TcpClose, rfc9293_3_10_7_4_a_fin_in_every_state_that_has_synchronised) {
  for (const FinIn& fin : {FinIn{TcpState::ESTABLISHED, false, TcpState::CLOSE_WAIT, "peer-closed"},
                           FinIn{TcpState::FIN_WAIT_1, false, TcpState::CLOSING, "peer-closed"},
                           FinIn{TcpState::FIN_WAIT_1, true, TcpState::TIME_WAIT, "peer-closed"},
                           FinIn{TcpState::FIN_WAIT_2, true, TcpState::TIME_WAIT, "peer-closed"},
                           FinIn{TcpState::CLOSE_WAIT, false, TcpState::CLOSE_WAIT, ""},
                           FinIn{TcpState::CLOSING, false, TcpState::CLOSING, ""},
                           FinIn{TcpState::LAST_ACK, false, TcpState::LAST_ACK, ""}}) {
    SCOPED_TRACE(static_cast<int>(fin.state));
    TcpBench bench;
    bench.establish();
    const auto we_send_fin = [&] { bench.stack->shutdown_send(bench.conn), bench.stack->submit(); };
    const bool again = fin.state == TcpState::CLOSE_WAIT || fin.state == TcpState::CLOSING ||
                       fin.state == TcpState::LAST_ACK;  // there it has come before
    if (fin.state == TcpState::FIN_WAIT_1 || fin.state == TcpState::FIN_WAIT_2 || fin.state == TcpState::CLOSING)
      we_send_fin();
    if (fin.state == TcpState::FIN_WAIT_2) bench.in(TCP_ACK, bench.seq, bench.ack + 1);
    if (again) bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack);
    if (fin.state == TcpState::LAST_ACK) we_send_fin();
    ASSERT_EQ(bench.stack->state(bench.conn), fin.state);
    bench.told();
    bench.out();
    bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack + (fin.acknowledges_ours ? 1 : 0));
    EXPECT_EQ(bench.stack->state(bench.conn), fin.after);
    EXPECT_EQ(bench.told(), fin.told);
    const auto answer = bench.out();
    ASSERT_EQ(answer.size(), 1U);
    EXPECT_EQ(answer[0].header.ack, bench.seq + 1) << "it is acknowledged once more, too";
  }
}

TEST(TcpClose, rfc9293_3_10_7_4_a_fin_that_comes_with_the_ack_of_our_syn) {
  TcpBench bench;
  bench.in(TCP_SYN, TcpBench::PEER_ISN, 0, {}, {.mss = 1'000});
  const uint32_t ack = bench.out().at(0).header.seq + 1;
  bench.in(TCP_ACK | TCP_FIN, TcpBench::PEER_ISN + 1, ack);
  EXPECT_EQ(bench.told(), "accepted peer-closed");
  EXPECT_EQ(bench.out().at(0).header.ack, TcpBench::PEER_ISN + 2);
}

TEST(TcpClose, rfc9293_3_10_7_a_fin_before_there_is_a_connection_is_nothing) {
  TcpBench bench;
  bench.in(TCP_FIN, 5'000, 0);  // LISTEN
  EXPECT_EQ(bench.dropped(DropReason::TCP_LISTEN_FLAGS), 1U);
  const Handle conn = bench.stack->connect(TcpBench::PEER, 40'000, 1'234);
  bench.stack->submit();
  const uint32_t iss = bench.out().at(0).header.seq;
  bench.in(TCP_FIN | TCP_ACK, 5'000, iss + 1, {}, {}, 1'234);  // SYN-SENT
  EXPECT_EQ(bench.dropped(DropReason::TCP_SYN_SENT_FLAGS), 1U);
  EXPECT_EQ(bench.stack->state(conn), TcpState::SYN_SENT);
  EXPECT_TRUE(bench.out().empty());
  EXPECT_EQ(bench.told(), "");
}

TEST(TcpReset, rfc5961_3_2_only_the_exact_number_resets) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_RST, bench.seq + 1, 0);
  const auto challenge = bench.out();
  ASSERT_EQ(challenge.size(), 1U);
  EXPECT_EQ(challenge[0].header.flags, TCP_ACK);
  EXPECT_EQ(challenge[0].header.ack, bench.seq);
  bench.in(TCP_RST, bench.seq - 1, 0);
  bench.in(TCP_RST, bench.seq + 70'000, 0);
  EXPECT_TRUE(bench.out().empty());
  EXPECT_EQ(bench.told(), "");
  bench.in(TCP_RST, bench.seq, 0);
  ASSERT_EQ(bench.events.size(), 1U);
  EXPECT_EQ(bench.events[0].error, ECONNRESET);
  EXPECT_EQ(bench.dropped(DropReason::TCP_RST_CHALLENGED), 1U);
  EXPECT_EQ(bench.dropped(DropReason::TCP_RST_OUT_OF_WINDOW), 2U);
}

TEST(TcpReset, rfc9293_in_every_state_it_ends_the_connection) {
  for (const TcpState state : {TcpState::ESTABLISHED, TcpState::FIN_WAIT_1, TcpState::FIN_WAIT_2, TcpState::CLOSE_WAIT,
                               TcpState::CLOSING, TcpState::LAST_ACK}) {
    TcpBench bench;
    bench.establish();
    uint32_t seq = bench.seq;
    const bool we_first = state == TcpState::FIN_WAIT_1 || state == TcpState::FIN_WAIT_2 || state == TcpState::CLOSING;
    if (we_first) bench.stack->shutdown_send(bench.conn), bench.stack->submit();
    if (state == TcpState::FIN_WAIT_2) bench.in(TCP_ACK, seq, bench.ack + 1);
    if (state == TcpState::CLOSE_WAIT || state == TcpState::CLOSING || state == TcpState::LAST_ACK)
      bench.in(TCP_ACK | TCP_FIN, seq++, bench.ack);
    if (state == TcpState::LAST_ACK) bench.stack->shutdown_send(bench.conn), bench.stack->submit();
    ASSERT_EQ(bench.stack->state(bench.conn), state);
    bench.told();
    bench.in(TCP_RST, seq, 0);
    EXPECT_EQ(bench.told(), "failed") << static_cast<int>(state);
    bench.stack->close(bench.conn);
    EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
  }
}

TEST(TcpChallenge, rfc5961_4_2_a_syn_on_a_living_connection) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_SYN, bench.seq + 100, 0);
  const auto challenge = bench.out();
  ASSERT_EQ(challenge.size(), 1U);
  EXPECT_EQ(challenge[0].header.flags, TCP_ACK);
  EXPECT_EQ(bench.stack->state(bench.conn), TcpState::ESTABLISHED);
}

TEST(TcpChallenge, rfc5961_5_2_an_ack_of_what_was_never_sent_or_long_ago) {
  TcpBench bench;
  bench.establish();
  bench.in(TCP_ACK, bench.seq, bench.ack + 1, "optimistic");
  bench.in(TCP_ACK, bench.seq, bench.ack - 70'000, "old");
  EXPECT_EQ(bench.out().size(), 2U);
  EXPECT_EQ(bench.told(), "");
  EXPECT_EQ(bench.dropped(DropReason::TCP_ACK_CHALLENGED), 2U);
}

TEST(TcpChallenge, rfc5961_7_has_a_limit) {
  NetConfig config = TcpBench::default_config();
  config.limits.replies_per_second = 5;
  TcpBench bench(config);
  bench.establish();
  for (int i = 0; i < 20; ++i) bench.in(TCP_SYN, bench.seq + 100, 0);
  EXPECT_EQ(bench.out().size(), 5U);
  EXPECT_EQ(bench.stack->counters().challenge_acks_withheld, 15U);
}

TEST(TcpChallenge, a_segment_without_ack_is_nothing) {
  TcpBench bench;
  bench.establish();
  bench.in(0, bench.seq, 0, "abc");
  bench.in(TCP_FIN, bench.seq, 0);
  EXPECT_EQ(bench.told(), "");
  EXPECT_EQ(bench.dropped(DropReason::TCP_ACK_MISSING), 2U);
}

class TimeWait : public testing::Test {
 protected:
  void enter(const TcpOptions& options) {
    bench.establish(options);
    bench.stack->close(bench.conn);
    bench.stack->submit();
    bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack + 1, {},
             options.has_timestamps ? TcpOptions{.has_timestamps = true, .ts_val = options.ts_val} : TcpOptions{});
    ASSERT_EQ(bench.stack->lent().time_wait, 1U);
    bench.out();
  }
  TcpBench bench;
};

TEST_F(TimeWait, rfc1337_a_reset_does_not_end_it_and_a_fin_makes_it_last_anew) {
  enter({.mss = 1'000});
  bench.in(TCP_RST, bench.seq + 1, 0);
  EXPECT_EQ(bench.dropped(DropReason::TCP_RST_TIME_WAIT), 1U);
  bench.pass(seconds(59));
  bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack + 1);  // RFC 9293 section 3.10.7.4: 2 MSL begin again
  bench.pass(seconds(59));
  EXPECT_EQ(bench.stack->lent().time_wait, 1U);
  bench.pass(seconds(2));
  EXPECT_EQ(bench.stack->lent(), NetStack::Lent{});
}

TEST_F(TimeWait, rfc6191_a_newer_timestamp_reopens_the_port_at_once) {
  const TcpOptions options = {.mss = 1'000, .has_timestamps = true, .ts_val = 100};
  enter(options);
  bench.in(TCP_SYN, 1, 0, {}, options);  // the same timestamp, an old number
  EXPECT_EQ(bench.out().at(0).header.flags, TCP_ACK);
  TcpOptions newer = options;
  newer.ts_val = 101;
  bench.in(TCP_SYN, 1, 0, {}, newer);
  const SentSegment answer = bench.out().at(0);
  EXPECT_TRUE(answer.has(TCP_SYN | TCP_ACK));
  EXPECT_GT(static_cast<int32_t>(answer.header.seq - bench.ack), 0);  // behind all numbers of the old one
  EXPECT_EQ(bench.stack->counters().time_wait_reused, 1U);
  EXPECT_EQ(bench.stack->lent().time_wait, 0U);
}

TEST_F(TimeWait, rfc9293_3_6_1_without_timestamps_a_higher_number_does) {
  enter({.mss = 1'000});
  bench.in(TCP_SYN, bench.seq - 5, 0, {}, {.mss = 1'000});
  EXPECT_EQ(bench.out().at(0).header.flags, TCP_ACK);
  bench.in(TCP_SYN, bench.seq + 5, 0, {}, {.mss = 1'000});
  EXPECT_TRUE(bench.out().at(0).has(TCP_SYN | TCP_ACK));
}

TEST_F(TimeWait, gives_its_slot_to_the_living_when_all_are_taken) {
  enter({.mss = 1'000});
  for (uint16_t port = 1; port <= 16; ++port) {
    bench.peer_port = port;
    bench.establish();
  }
  EXPECT_EQ(bench.stack->counters().time_wait_evicted, 1U);
  EXPECT_EQ(bench.stack->lent().time_wait, 0U);
}

TEST(TcpKeepAlive, rfc1122_4_2_3_6_probes_and_gives_up) {
  TcpBench bench;
  bench.establish();
  bench.pass(seconds(7'190));
  EXPECT_TRUE(bench.out().empty());
  bench.pass(seconds(20));
  const auto probe = bench.out();
  ASSERT_EQ(probe.size(), 1U);
  EXPECT_EQ(probe[0].header.seq, bench.ack - 1);
  bench.in(TCP_ACK, bench.seq, bench.ack);  // alive
  bench.pass(seconds(7'000));
  EXPECT_TRUE(bench.out().empty());
  bench.pass(seconds(210 + 75 * 10));
  EXPECT_EQ(bench.told(), "failed");
}

}  // namespace
}  // namespace penstock
