// EngineTransport on a port that two processes have (net/port_handover.h): what it says follows from whether another
// hears the port, and from its listeners; and for how long one that leaves stays.
#include "src/base/unique_fd.h"
#include "src/transport/engine/engine_transport.h"
#include "src/transport/socket_address.h"
#include "tests/support/tcp_bench.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

namespace penstock {
namespace {

constexpr uint32_t LISTENER = 3;

// With a descriptor to sleep on, which no frame makes readable.
class SleepyDevice final : public PacketDevice {
 public:
  [[nodiscard]] DeviceFeatures features() const override { return script.features(); }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override { return script.rx_burst(out); }
  void rx_release(uint32_t token) override { script.rx_release(token); }
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override { return script.tx_burst(frames); }
  [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override { return script.tx_done(holds); }
  [[nodiscard]] int begin_wait() override { return quiet.get(); }
  ScriptDevice script;
  UniqueFd quiet{::eventfd(0, EFD_CLOEXEC)};
};

struct HandoverPort {
  explicit HandoverPort(bool heard, uint32_t half_open_max = 8) : heard_by_two(heard) {
    EngineOptions options;
    options.transport.connections_max = 16;
    options.net = TcpBench::default_config();
    options.net.limits.half_open_max = half_open_max;
    options.spin = {};
    options.heard_by_two = &heard_by_two;
    auto opened = EngineTransport::open(wire, options, now);
    EXPECT_TRUE(opened);
    transport = std::move(*opened);
    socket.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in any{};
    any.sin_family = AF_INET;
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    port = own_address(socket.get()).port;
  }
  void listen() { ASSERT_TRUE(transport->add_listener(socket.get(), LISTENER)); }
  // Frames that it sends in a turn; it does not sleep.
  size_t turn() {
    device.sent.clear();
    (void)transport->poll(now, now, events);
    return device.sent.size();
  }
  size_t frames_for(uint8_t flags, uint32_t ack = 0) {
    (void)turn();
    device.incoming.push_back(peer.segment(flags, TcpBench::PEER_ISN, ack, {}, {}, port));
    return turn();
  }
  // It knows its peer's MAC address, and has said what it has to say at its start.
  void settle() {
    peer.peer_port = 40'000;
    (void)turn();
    std::vector<uint8_t> frame(EthernetHeader::BYTES + ArpPacket::BYTES);
    write_ethernet(frame.data(), {.destination = TcpBench::OUR_MAC, .source = TcpBench::PEER_MAC, .type = 0x0806});
    write_arp(&frame[EthernetHeader::BYTES], {.request = false,
                                              .sender_mac = TcpBench::PEER_MAC,
                                              .sender = TcpBench::PEER,
                                              .target_mac = TcpBench::OUR_MAC,
                                              .target = TcpBench::OURS});
    for (int i = 0; i < 2; ++i) {  // the second: somebody has asked by now
      device.incoming.push_back(frame);
      (void)turn();
    }
  }

  MonoTime now = {1'000'000'000'000};
  TcpBench peer;  // makes segments
  SleepyDevice wire;
  ScriptDevice& device = wire.script;
  std::atomic<bool> heard_by_two;
  std::unique_ptr<EngineTransport> transport;
  UniqueFd socket;
  uint16_t port = 0;
  std::array<TransportEvent, 16> events;
};

TEST(EngineHandover, who_comes_beside_another_is_silent_until_it_listens) {
  HandoverPort port(true);
  EXPECT_EQ(port.turn(), 0U) << "it does not announce itself";
  port.settle();
  EXPECT_EQ(port.frames_for(TCP_SYN), 0U);
  port.listen();
  (void)port.frames_for(TCP_SYN);
  EXPECT_EQ(port.transport->stack().lent().half_open, 1U);
}

TEST(EngineHandover, who_is_alone_announces_itself) {
  HandoverPort port(false);
  EXPECT_GT(port.turn(), 0U);
}

TEST(EngineHandover, strangers_are_refused_as_soon_as_nobody_else_hears_them) {
  HandoverPort port(true);
  port.listen();
  port.settle();
  EXPECT_EQ(port.frames_for(TCP_ACK, 77), 0U);
  port.heard_by_two = false;
  EXPECT_EQ(port.frames_for(TCP_ACK, 77), 1U);
  EXPECT_EQ(port.transport->stack().counters().resets_sent, 1U);
  port.heard_by_two = true;
  EXPECT_EQ(port.frames_for(TCP_ACK, 77), 0U);
}

TEST(EngineHandover, who_leaves_stays_for_a_handshake_and_is_silent_else) {
  HandoverPort port(true);
  port.listen();
  port.settle();
  (void)port.frames_for(TCP_SYN);
  EXPECT_FALSE(port.transport->has_unsettled()) << "it does not leave";
  port.transport->remove_listener(LISTENER);
  EXPECT_TRUE(port.transport->has_unsettled());
  port.peer.peer_port = 40'001;
  EXPECT_EQ(port.frames_for(TCP_SYN), 0U);
  port.now = port.now + milliseconds(2'999);
  (void)port.turn();
  EXPECT_TRUE(port.transport->has_unsettled());
  port.now = port.now + milliseconds(1);
  (void)port.turn();
  EXPECT_FALSE(port.transport->has_unsettled()) << "but not for ever";
}

TEST(EngineHandover, who_leaves_alone_waits_for_nobody) {
  HandoverPort port(false);
  port.listen();
  port.settle();
  (void)port.frames_for(TCP_SYN);
  port.transport->remove_listener(LISTENER);
  EXPECT_FALSE(port.transport->has_unsettled());
}

TEST(EngineHandover, who_leaves_does_not_sleep_longer_than_it_stays) {
  HandoverPort port(true, 0);
  port.listen();
  port.settle();
  (void)port.frames_for(TCP_SYN);
  ASSERT_EQ(port.transport->stack().counters().syn_cookies_sent, 1U);
  port.transport->remove_listener(LISTENER);
  EXPECT_TRUE(port.transport->has_unsettled()) << "a cookie is out";
  port.now = port.now + milliseconds(2'999);
  EXPECT_EQ(port.transport->poll(port.now, MonoTime::never(), port.events), 0U);  // else for ever
}

}  // namespace
}  // namespace penstock
