// A million idle connections: what one costs, that any of them is found at once, and that the engine asks for no memory
// after its start. Not under sanitizers, which have their own memory.

#include "src/base/allocations.h"
#include "src/base/bytes.h"
#include "tests/net_sim/seeds.h"
#include "tests/support/tcp_bench.h"

#include <cstdio>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

namespace penstock {
namespace {

// One frame in, the first one out after it; nothing kept.
class OneFrameDevice final : public PacketDevice {
 public:
  [[nodiscard]] DeviceFeatures features() const override {
    return {.tx_ip_checksum = true, .tx_tcp_checksum = true, .copies_payload = true};
  }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override {
    if (size == 0) return 0;
    out[0] = {.data = frame, .size = size, .token = 1, .ip_checksum_good = true, .tcp_checksum_good = true};
    size = 0;
    answered = false;
    return 1;
  }
  void rx_release(uint32_t) override {}
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override {
    if (!answered) std::memcpy(sent, frames.front().head, frames.front().head_bytes);
    answered = true;
    return frames.size();
  }
  [[nodiscard]] size_t tx_done(std::span<uint32_t>) override { return 0; }

  uint8_t frame[128];
  uint32_t size = 0;
  bool answered = false;
  uint8_t sent[TxFrame::HEAD_BYTES_MAX];
};

uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::string all;
  std::string resident;
  file >> all >> resident;
  return parse_decimal(resident).value_or(0) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

class Crowd {
 public:
  explicit Crowd(uint32_t count) : stack_(config(count), device_, now_) {
    ASSERT(stack_.listen(80, 1));
    // The gateway asks for us, so its MAC address is known; everybody is behind it.
    write_ethernet(device_.frame,
                   {.destination = MacAddress::broadcast(), .source = TcpBench::PEER_MAC, .type = 0x0806});
    write_arp(device_.frame + 14, {.request = true,
                                   .sender_mac = TcpBench::PEER_MAC,
                                   .sender = TcpBench::PEER,
                                   .target_mac = {},
                                   .target = TcpBench::OURS});
    device_.size = 14 + ArpPacket::BYTES;
    (void)turn();
  }
  Handle establish(uint32_t number) {
    segment(number, TCP_SYN, 1, 0, 0);
    (void)turn();
    const uint32_t iss = load_be32(device_.sent + 14 + 20 + 4);
    segment(number, TCP_ACK, 2, iss + 1, 0);
    const NetEvent event = turn();
    ASSERT(event.kind == NetEventKind::ACCEPTED);
    return event.conn;
  }
  // A byte, with the ACK of the SYN that it needs: found out by a segment that is challenged.
  NetEvent receive(uint32_t number) {
    segment(number, TCP_SYN | TCP_ACK, 2, 0, 0);
    (void)turn();
    segment(number, TCP_ACK, 2, load_be32(device_.sent + 14 + 20 + 4), 1);
    return turn();
  }
  // All that a connection's life can bring: data that waits, out of order, sent, lost and sent again; an end with
  // TIME-WAIT. Another connection stays half open.
  void live(uint32_t number) {
    segment(1'000 + number, TCP_SYN, 1, 0, 0);
    (void)turn();
    const Handle conn = establish(number);
    const uint32_t ack = load_be32(device_.frame + 34 + 8);
    for (const uint32_t seq : {2U, 4U, 3U}) {
      segment(number, TCP_ACK, seq, ack, 1);
      take_all();
    }
    static constexpr char ZEROES[900] = {};
    const NetPart part{.data = ZEROES, .size = sizeof ZEROES};
    ASSERT(stack_.send(conn, {&part, 1}, 1));
    stack_.submit();
    now_ = now_ + milliseconds(250);
    take_all();
    segment(number, TCP_ACK, 5, ack + sizeof ZEROES, 0);
    take_all();
    ASSERT(!stack_.close(conn));
    stack_.submit();
    segment(number, TCP_ACK | TCP_FIN, 5, ack + sizeof ZEROES + 1, 0);
    take_all();
  }
  NetEvent turn() {
    NetEvent events[4];
    return stack_.poll(now_, events) == 0 ? NetEvent{} : events[0];
  }
  NetStack& stack() { return stack_; }

 private:
  void take_all() {
    NetEvent events[4];
    while (const size_t count = stack_.poll(now_, events)) {
      for (size_t i = 0; i < count; ++i) {
        if (events[i].kind == NetEventKind::RECEIVED) stack_.release(events[i].buffer);
      }
    }
  }
  static NetConfig config(uint32_t count) {
    NetConfig config = TcpBench::default_config();
    config.addresses.v4_gateway = TcpBench::PEER;
    config.limits.connections_max = count;
    return config;
  }
  void segment(uint32_t number, uint8_t flags, uint32_t seq, uint32_t ack, size_t bytes) {
    TcpHeader header{.source_port = static_cast<uint16_t>(1'024 + number % 50'000),
                     .destination_port = 80,
                     .seq = seq,
                     .ack = ack,
                     .flags = flags,
                     .window = 1'000};
    write_ethernet(device_.frame, {.destination = TcpBench::OUR_MAC, .source = TcpBench::PEER_MAC, .type = 0x0800});
    write_ip(device_.frame + 14,
             {.source = IpAddress::v4(11, 0, 0, static_cast<uint8_t>(number / 50'000)),
              .destination = TcpBench::OURS,
              .protocol = 6,
              .hop_limit = 64},
             20 + bytes, true);
    write_tcp(device_.frame + 34, header, {});
    device_.size = static_cast<uint32_t>(54 + bytes);
  }

  MonoTime now_ = {1'000'000'000'000};
  OneFrameDevice device_;
  NetStack stack_;
};

TEST(Idle, a_million_connections_cost_512_bytes_each_at_most) {
  if (SANITIZED) GTEST_SKIP();
  constexpr uint32_t COUNT = 1'000'000;
  Crowd crowd(COUNT);
  const uint64_t before = resident_bytes();
  const uint64_t allocations_before = allocations_of_this_thread();
  for (uint32_t i = 0; i < COUNT; ++i) (void)crowd.establish(i);
  EXPECT_EQ(allocations_of_this_thread(), allocations_before);
  const uint64_t each = (resident_bytes() - before) / COUNT;
  RecordProperty("bytes_each", static_cast<int>(each));
  std::printf("bytes of resident memory for each idle connection: %llu\n", static_cast<unsigned long long>(each));
  EXPECT_EQ(crowd.stack().lent().connections, COUNT);
  EXPECT_LE(each, 512U);
  for (const uint32_t number : {0U, COUNT / 2, COUNT - 1}) {
    const NetEvent event = crowd.receive(number);
    EXPECT_EQ(event.kind, NetEventKind::RECEIVED);
    EXPECT_EQ(event.size, 1U);
  }
}

TEST(Engine, allocates_nothing_after_its_start) {
  if (SANITIZED) GTEST_SKIP();
  Crowd crowd(16);
  ASSERT_NE(allocations_of_this_thread(), 0U) << "they are counted";
  const uint64_t before = allocations_of_this_thread();
  for (uint32_t number = 0; number < 64; ++number) crowd.live(number);
  EXPECT_EQ(allocations_of_this_thread(), before);
  EXPECT_GT(crowd.stack().counters().segments_retransmitted, 0U);
  EXPECT_GT(crowd.stack().counters().duplicate_acks_sent, 0U);
  EXPECT_GT(crowd.stack().counters().syn_cookies_sent, 0U);
  EXPECT_GT(crowd.stack().counters().time_wait_evicted, 0U);
}

}  // namespace
}  // namespace penstock
