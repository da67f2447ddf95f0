// Two processes that have one port: what an engine says to frames that may be the other's (port_handover.h).

#include "src/net/port_handover.h"

#include "tests/support/net_frames.h"
#include "tests/support/tcp_bench.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

class Taker final : public FrameTaker {
 public:
  [[nodiscard]] bool take(const RxFrame&) override {
    ++frames;
    return false;
  }
  uint32_t frames = 0;
};

struct HandoverBench : TcpBench {
  explicit HandoverBench(PortHandover handover, const NetConfig& config = default_config()) : TcpBench(config) {
    become(handover);
  }
  void become(PortHandover handover) {
    stack->set_handover(handover);
    if (handover == PortHandover::SILENT) stack->stop_listening(7);
  }
  // What it says to a segment: the flags of its answer, or nothing.
  std::string answer(uint8_t flags, uint32_t seg_seq, uint32_t seg_ack, std::string_view data = {},
                     uint16_t to = PORT) {
    device.sent.clear();
    in(flags, seg_seq, seg_ack, data, {}, to);
    std::string text;
    for (const SentSegment& segment : out()) {
      text += segment.has(TCP_RST) ? "RST " : segment.has(TCP_SYN | TCP_ACK) ? "SYN-ACK " : "ACK ";
    }
    if (!text.empty()) text.pop_back();
    return text;
  }
  // Frames that it sends for one that comes in.
  size_t frames_for(std::vector<uint8_t> frame) {
    device.sent.clear();
    put(std::move(frame));
    return device.sent.size();
  }
  [[nodiscard]] uint64_t left() const { return dropped(DropReason::LEFT_TO_ANOTHER); }
};

constexpr PortHandover EACH[] = {PortHandover::NONE, PortHandover::ANSWERS, PortHandover::SILENT};

TEST(PortHandover, a_syn_is_answered_but_by_the_silent_one) {
  const char* const answers[] = {"SYN-ACK", "SYN-ACK", ""};
  const char* const refusals[] = {"RST", "RST", ""};
  for (const PortHandover handover : EACH) {
    HandoverBench bench(handover);
    EXPECT_EQ(bench.answer(TCP_SYN, 1, 0), answers[static_cast<size_t>(handover)]);
    EXPECT_EQ(bench.answer(TCP_SYN, 1, 0, {}, 81), refusals[static_cast<size_t>(handover)]) << "no listener";
    EXPECT_EQ(bench.left(), handover == PortHandover::SILENT ? 2U : 0U);
  }
}

TEST(PortHandover, a_segment_of_no_connection_is_refused_by_who_is_alone_only) {
  for (const PortHandover handover : EACH) {
    HandoverBench bench(handover);
    const char* const answer = handover == PortHandover::NONE ? "RST" : "";
    EXPECT_EQ(bench.answer(TCP_ACK | TCP_PSH, 1, 1, "GET /"), answer);
    EXPECT_EQ(bench.answer(TCP_ACK | TCP_FIN, 1, 1), answer);
    EXPECT_EQ(bench.answer(TCP_SYN | TCP_ACK, 1, 1), answer);
    EXPECT_EQ(bench.answer(TCP_ACK, 1, 1, {}, 81), answer) << "no listener";
    EXPECT_EQ(bench.answer(TCP_RST, 1, 0), "");
    EXPECT_EQ(bench.stack->counters().resets_sent, handover == PortHandover::NONE ? 4U : 0U);
    EXPECT_EQ(bench.left(), handover == PortHandover::NONE ? 0U : handover == PortHandover::ANSWERS ? 4U : 5U);
  }
}

TEST(PortHandover, a_connection_of_its_own_goes_on_in_any_case) {
  for (const PortHandover handover : EACH) {
    HandoverBench bench(PortHandover::NONE);
    bench.establish();
    bench.become(handover);
    bench.in(TCP_ACK | TCP_PSH, bench.seq, bench.ack, "hello");
    EXPECT_EQ(bench.told(), "received:hello");
    bench.send("answer");
    const std::vector<SentSegment> sent = bench.out();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].data, "answer");
  }
}

TEST(PortHandover, a_handshake_that_was_begun_is_ended_by_who_has_gone_silent) {
  HandoverBench bench(PortHandover::ANSWERS);
  bench.in(TCP_SYN, TcpBench::PEER_ISN, 0);
  const std::vector<SentSegment> answer = bench.out();
  ASSERT_EQ(answer.size(), 1U);
  bench.become(PortHandover::SILENT);
  EXPECT_TRUE(bench.stack->has_unsettled());
  bench.in(TCP_ACK, TcpBench::PEER_ISN + 1, answer[0].header.seq + 1);
  EXPECT_EQ(bench.told(), "accepted");
}

TEST(PortHandover, of_two_that_answered_a_syn_the_one_not_taken_forgets) {
  for (const PortHandover handover : EACH) {
    HandoverBench bench(PortHandover::ANSWERS);
    EXPECT_EQ(bench.answer(TCP_SYN, TcpBench::PEER_ISN, 0), "SYN-ACK");
    bench.become(handover);
    EXPECT_EQ(bench.stack->lent().half_open, 1U);
    EXPECT_EQ(bench.answer(TCP_ACK, TcpBench::PEER_ISN + 1, 12'345), handover == PortHandover::NONE ? "RST" : "");
    EXPECT_EQ(bench.stack->lent().half_open, handover == PortHandover::NONE ? 1U : 0U);
    EXPECT_EQ(bench.stack->lent().connections, handover == PortHandover::NONE ? 1U : 0U);
    EXPECT_EQ(bench.answer(TCP_ACK | TCP_PSH, TcpBench::PEER_ISN + 1, 12'345, "GET /"),
              handover == PortHandover::NONE ? "RST" : "");
    bench.pass(seconds(30));
    EXPECT_EQ(bench.out().empty(), handover != PortHandover::NONE) << "its SYN-ACK does not come again";
  }
}

NetConfig cookie_config() {
  NetConfig config = TcpBench::default_config();
  config.limits.half_open_max = 0;
  return config;
}

TEST(PortHandover, a_cookie_is_good_for_who_gave_it_and_nobody_elses_is_refused) {
  for (const PortHandover handover : EACH) {
    HandoverBench bench(PortHandover::ANSWERS, cookie_config());
    bench.in(TCP_SYN, TcpBench::PEER_ISN, 0);
    const std::vector<SentSegment> answer = bench.out();
    ASSERT_EQ(answer.size(), 1U);
    bench.become(handover);
    EXPECT_TRUE(bench.stack->has_unsettled());
    EXPECT_EQ(bench.answer(TCP_ACK, TcpBench::PEER_ISN + 1, 12'345), handover == PortHandover::NONE ? "RST" : "");
    EXPECT_EQ(bench.told(), "");
    bench.in(TCP_ACK, TcpBench::PEER_ISN + 1, answer[0].header.seq + 1);
    EXPECT_EQ(bench.told(), "accepted");
  }
}

TEST(PortHandover, a_cookie_names_the_listener_that_was_let_go_last) {
  HandoverBench bench(PortHandover::ANSWERS, cookie_config());
  bench.stack->stop_listening(7);
  ASSERT_TRUE(bench.stack->listen(TcpBench::PORT, 9, NetStack::ListenOn::V4));
  bench.in(TCP_SYN, TcpBench::PEER_ISN, 0);
  const std::vector<SentSegment> answer = bench.out();
  bench.stack->stop_listening(9);
  bench.stack->set_handover(PortHandover::SILENT);
  bench.events.clear();
  bench.in(TCP_ACK, TcpBench::PEER_ISN + 1, answer.at(0).header.seq + 1);
  ASSERT_EQ(bench.events.size(), 1U);
  EXPECT_EQ(bench.events[0].id, 9U);
}

TEST(PortHandover, a_cookie_is_no_more_waited_for_when_it_is_too_old) {
  HandoverBench bench(PortHandover::ANSWERS, cookie_config());
  bench.in(TCP_SYN, TcpBench::PEER_ISN, 0);
  bench.become(PortHandover::SILENT);
  bench.pass(seconds(121));
  EXPECT_FALSE(bench.stack->has_unsettled());
}

// RFC 6191; the other engine answers the SYN.
TEST(PortHandover, a_time_wait_gives_way_to_a_connection_of_the_other_engine) {
  for (const PortHandover handover : {PortHandover::ANSWERS, PortHandover::SILENT}) {
    HandoverBench bench(PortHandover::NONE);
    bench.establish();
    (void)bench.stack->close(bench.conn);
    bench.stack->submit();
    bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack + 1);
    ASSERT_EQ(bench.stack->lent().time_wait, 1U);
    EXPECT_FALSE(bench.stack->has_unsettled());
    bench.become(handover);
    EXPECT_EQ(bench.answer(TCP_SYN, bench.seq + 1'000'000, 0), handover == PortHandover::ANSWERS ? "SYN-ACK" : "");
    EXPECT_EQ(bench.stack->lent().time_wait, 0U);
    if (handover == PortHandover::ANSWERS) continue;
    EXPECT_EQ(bench.answer(TCP_ACK | TCP_PSH, bench.seq + 1'000'001, 777, "GET /"), "") << "it does not contradict";
  }
}

TEST(PortHandover, an_end_that_is_not_acknowledged_is_unsettled) {
  HandoverBench bench(PortHandover::NONE);
  bench.establish();
  (void)bench.stack->close(bench.conn);
  bench.become(PortHandover::SILENT);
  bench.stack->submit();
  EXPECT_TRUE(bench.stack->has_unsettled());
  bench.in(TCP_ACK | TCP_FIN, bench.seq, bench.ack + 1);
  EXPECT_FALSE(bench.stack->has_unsettled());
}

TEST(PortHandover, neighbours_are_learnt_by_both_and_answered_by_one) {
  for (const PortHandover handover : EACH) {
    HandoverBench bench(PortHandover::NONE);
    bench.stack = std::make_unique<NetStack>(TcpBench::default_config(), bench.device, bench.now);
    ASSERT_TRUE(bench.stack->listen(TcpBench::PORT, 7));
    bench.stack->set_handover(handover);
    const size_t answers = handover == PortHandover::SILENT ? 0 : 1;
    EXPECT_EQ(bench.frames_for(arp_question(TcpBench::OURS)), answers);
    EXPECT_EQ(bench.frames_for(neighbour_solicitation()), answers);
    EXPECT_EQ(bench.frames_for(bench.ip_frame(IP_PROTOCOL_ICMP, icmp_v4("08000000 00010002"))), answers);
    bench.stack->set_handover(PortHandover::ANSWERS);
    EXPECT_EQ(bench.answer(TCP_SYN, 1, 0), "SYN-ACK") << "its address is known, and nobody is asked for it";
  }
}

TEST(PortHandover, the_kernel_of_a_shared_port_gets_each_frame_once) {
  for (const PortHandover handover : EACH) {
    HandoverBench bench(handover);
    Taker kernel;
    bench.stack->share(kernel);
    bench.put(arp_question(TcpBench::OURS));
    bench.put(bench.ip_frame(IP_PROTOCOL_ICMP, icmp_v4("08000000 00010002")));
    bench.in(TCP_SYN, 1, 0, {}, {}, 22);
    bench.in(TCP_ACK, 1, 1, "ssh", {}, 22);
    EXPECT_EQ(kernel.frames, handover == PortHandover::SILENT ? 0U : 4U);
    EXPECT_EQ(bench.stack->counters().resets_sent, 0U);
  }
}

}  // namespace
}  // namespace penstock
