// A port that is shared with a kernel of the same addresses: what goes to whom, and who answers.

#include "tests/support/net_frames.h"
#include "tests/support/tcp_bench.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr uint16_t SSH = 22;

class Kernel final : public FrameTaker {
 public:
  [[nodiscard]] bool take(const RxFrame& frame) override {
    if (!has_room) return false;
    ++frames;
    tokens.push_back(frame.token);
    return true;
  }
  bool has_room = true;
  uint32_t frames = 0;
  std::vector<uint32_t> tokens;
};

struct SharedBench : TcpBench {
  explicit SharedBench(const NetConfig& config = default_config()) : TcpBench(config) {
    stack->share(kernel);
    ASSERT(stack->listen(443, 8));
    introduce();
    give_back();
  }
  ~SharedBench() { give_back(); }
  void give_back() {
    for (const uint32_t token : kernel.tokens) device.rx_release(token);
    kernel.tokens.clear();
    kernel.frames = 0;
    device.sent.clear();
  }
  // Frames that the kernel has got of it, and the engine's answers.
  struct Outcome {
    uint32_t kernel;
    size_t sent;
    bool operator==(const Outcome&) const = default;
  };
  Outcome outcome(std::vector<uint8_t> frame) {
    give_back();
    put(std::move(frame));
    return {kernel.frames, device.sent.size()};
  }
  Kernel kernel;
};

using Outcome = SharedBench::Outcome;
constexpr Outcome KERNELS = {1, 0};
constexpr Outcome NOBODYS = {0, 0};

std::vector<uint8_t> with_ip_byte(std::vector<uint8_t> frame, size_t at, uint8_t value) {
  frame[14 + at] = value;
  store_be16(&frame[24], 0);
  store_be16(&frame[24], checksum_of(internet_sum(std::span(frame).subspan(14, 20))));
  return frame;
}

TEST(SharedPort, tcp_is_ours_by_listener_and_connection_and_else_the_kernels) {
  SharedBench bench;
  EXPECT_EQ(bench.outcome(bench.segment(TCP_SYN, 1, 0, {}, {}, 443)), (Outcome{0, 1}));
  EXPECT_EQ(bench.outcome(bench.segment(TCP_SYN, 1, 0, {}, {}, SSH)), KERNELS);
  EXPECT_EQ(bench.outcome(bench.segment(TCP_ACK, 1, 1, "ssh", {}, SSH)), KERNELS);
  EXPECT_EQ(bench.outcome(bench.segment(TCP_RST, 1, 0, {}, {}, SSH)), KERNELS);
  bench.establish();
  bench.give_back();
  bench.in(TCP_ACK | TCP_PSH, bench.seq, bench.ack, "hello");
  EXPECT_EQ(bench.told(), "received:hello");
  EXPECT_EQ(bench.kernel.frames, 0U);
  EXPECT_EQ(bench.stack->counters().resets_sent, 0U);
}

TEST(SharedPort, a_stray_segment_for_our_own_port_is_refused_by_us) {
  SharedBench bench;
  EXPECT_EQ(bench.outcome(bench.segment(TCP_ACK, 1, 1)), (Outcome{0, 1}));
  EXPECT_EQ(bench.outcome(bench.segment(TCP_RST, 1, 0)), NOBODYS);
}

TEST(SharedPort, a_connection_of_ours_outlives_its_listener) {
  SharedBench bench;
  bench.establish();
  bench.stack->stop_listening(7);
  bench.give_back();
  bench.in(TCP_ACK | TCP_PSH, bench.seq, bench.ack, "hello");
  EXPECT_EQ(bench.told(), "received:hello");
  EXPECT_EQ(bench.kernel.frames, 0U);
}

TEST(SharedPort, between_two_servers_only_their_own_ports_wait) {
  SharedBench bench;
  bench.stack->stop_listening(7);
  EXPECT_EQ(bench.outcome(bench.segment(TCP_SYN, 1, 0)), KERNELS) << "the last change took the port away";
  bench.stack->stop_listening(8);
  bench.stack->set_succession(true);
  EXPECT_EQ(bench.outcome(bench.segment(TCP_SYN, 1, 0)), NOBODYS);
  EXPECT_EQ(bench.outcome(bench.segment(TCP_SYN, 1, 0, {}, {}, SSH)), KERNELS);
  EXPECT_EQ(bench.dropped(DropReason::TCP_ACCEPT_PAUSED), 1U);
}

TEST(SharedPort, before_the_first_listener_nobody_is_refused_by_the_kernel) {
  SharedBench bench;
  NetStack fresh(TcpBench::default_config(), bench.device, bench.now);
  fresh.share(bench.kernel);
  fresh.set_succession(true);
  bench.give_back();
  NetEvent events[4];
  for (const uint16_t port : {TcpBench::PORT, SSH}) {
    bench.device.incoming.push_back(bench.segment(TCP_SYN, 1, 0, {}, {}, port));
    EXPECT_EQ(fresh.poll(bench.now, events), 0U);
  }
  EXPECT_EQ(bench.kernel.frames, 0U);
  EXPECT_EQ(fresh.counters().dropped(DropReason::TCP_ACCEPT_PAUSED), 2U);
}

TEST(SharedPort, arp_reaches_both_and_is_answered_by_us) {
  SharedBench bench;
  EXPECT_EQ(bench.outcome(arp_question(TcpBench::OURS)), (Outcome{1, 1}));
  EXPECT_EQ(bench.outcome(arp_question(IpAddress::v4(10, 0, 0, 99))), KERNELS);  // an address of the kernel's alone
  EXPECT_EQ(bench.dropped(DropReason::ARP_NOT_OURS), 0U);
  bench.device.overheard = true;  // another engine of the port answers it and hands it on
  EXPECT_EQ(bench.outcome(arp_question(TcpBench::OURS)), NOBODYS);
}

TEST(SharedPort, neighbour_discovery_reaches_both) {
  SharedBench bench;
  EXPECT_EQ(bench.outcome(neighbour_solicitation()), (Outcome{1, 1}));
}

TEST(SharedPort, the_kernel_answers_echo_requests) {
  SharedBench bench;
  EXPECT_EQ(bench.outcome(bench.ip_frame(IP_PROTOCOL_ICMP, icmp_v4("08000000 00010002"))), KERNELS);
  EXPECT_EQ(bench.stack->counters().echo_replies, 0U);
}

TEST(SharedPort, icmp_errors_go_to_whose_connection_they_are_about) {
  SharedBench bench;
  bench.establish({.mss = 1'460});
  bench.send(std::string(1'460, 'x'));
  std::vector<uint8_t> quoted(bench.device.sent.at(0).bytes.begin() + 14, bench.device.sent.at(0).bytes.begin() + 42);
  EXPECT_EQ(bench.outcome(bench.ip_frame(IP_PROTOCOL_ICMP, icmp_v4("03040000 000003e8", quoted))), (Outcome{0, 2}));
  EXPECT_EQ(bench.stack->counters().path_mtu_reduced, 1U);
  store_be16(&quoted[20], SSH);
  EXPECT_EQ(bench.outcome(bench.ip_frame(IP_PROTOCOL_ICMP, icmp_v4("03040000 000003e8", quoted))), KERNELS);
  quoted[9] = 17;  // about UDP
  EXPECT_EQ(bench.outcome(bench.ip_frame(IP_PROTOCOL_ICMP, icmp_v4("03030000 00000000", quoted))), KERNELS);
}

TEST(SharedPort, other_protocols_and_addresses_are_the_kernels) {
  SharedBench bench;
  const std::vector<uint8_t> syn = bench.segment(TCP_SYN, 1, 0);
  EXPECT_EQ(bench.outcome(bench.ip_frame(17, std::vector<uint8_t>(20))), KERNELS);                       // UDP
  EXPECT_EQ(bench.outcome(bench.ip_frame(89, std::vector<uint8_t>(20))), KERNELS);                       // OSPF
  EXPECT_EQ(bench.outcome(with_ip_byte(syn, 19, 77)), KERNELS);                                          // to 10.0.0.77
  EXPECT_EQ(bench.outcome(with_ip_byte(bench.ip_frame(17, std::vector<uint8_t>(20)), 12, 0)), KERNELS);  // DHCP asks
  std::vector<uint8_t> lldp = syn;
  store_be16(&lldp[12], 0x88cc);
  EXPECT_EQ(bench.outcome(lldp), KERNELS);
  std::vector<uint8_t> tagged = syn;
  tagged.insert(tagged.begin() + 12, {0x81, 0, 0, 9});
  EXPECT_EQ(bench.outcome(tagged), KERNELS);
  EXPECT_EQ(bench.stack->counters().frames_handed_on, 7U);  // these, and the peer's ARP
}

TEST(SharedPort, fragments_go_to_the_kernel_unless_it_would_refuse_in_our_name) {
  SharedBench bench;
  EXPECT_EQ(bench.outcome(with_ip_byte(bench.ip_frame(17, std::vector<uint8_t>(20)), 6, 0x20)), KERNELS);
  EXPECT_EQ(bench.outcome(with_ip_byte(bench.segment(TCP_SYN, 1, 0), 6, 0x20)), NOBODYS);
  EXPECT_EQ(bench.outcome(with_ip_byte(bench.segment(TCP_SYN, 1, 0), 12, 0)), NOBODYS);  // from 0.0.0.2
  EXPECT_EQ(bench.dropped(DropReason::IP_FRAGMENT), 1U);
  EXPECT_EQ(bench.dropped(DropReason::IP_SOURCE), 1U);
}

TEST(SharedPort, what_is_broken_or_for_another_machine_is_nobodys) {
  SharedBench bench;
  for (const size_t at : {size_t{5}, size_t{24}, size_t{50}}) {  // MAC address, checksums of IP and TCP
    std::vector<uint8_t> bad = bench.segment(TCP_SYN, 1, 0, {}, {}, SSH);
    bad[at] = static_cast<uint8_t>(bad[at] ^ 0x55);
    EXPECT_EQ(bench.outcome(bad), NOBODYS) << at;
  }
}

TEST(SharedPort, what_the_kernel_has_no_room_for_is_counted_by_its_reason) {
  SharedBench bench;
  bench.kernel.has_room = false;
  EXPECT_EQ(bench.outcome(bench.segment(TCP_SYN, 1, 0, {}, {}, SSH)), NOBODYS);
  EXPECT_EQ(bench.dropped(DropReason::TCP_NOT_OURS), 1U);
  EXPECT_TRUE(bench.device.lent.empty());
}

}  // namespace
}  // namespace penstock
