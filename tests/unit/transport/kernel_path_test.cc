// KernelPath with a socket pair in the place of the TAP device, which keeps frames apart as well.
#include "src/transport/engine/kernel_path.h"

#include "src/base/unique_fd.h"
#include "src/transport/engine/engine_transport.h"
#include "tests/support/tcp_bench.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>

namespace penstock {
namespace {

constexpr uint16_t MTU = 1'500;
using Bytes = std::vector<uint8_t>;

Bytes frame_of(uint8_t number, uint16_t vlan_id = 0, size_t payload = 46) {
  Bytes frame(EthernetHeader::BYTES_MAX);
  frame.resize(write_ethernet(
      frame.data(),
      {.destination = {{2, 0, 0, 0, 0, 1}}, .source = {{2, 0, 0, 0, 0, 2}}, .type = 0x0800, .vlan_id = vlan_id}));
  frame.resize(frame.size() + payload, number);
  return frame;
}

class PathWorld {
 public:
  explicit PathWorld(uint16_t vlan_id = 0) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    ours_.reset(ends[0]);
    kernel.reset(ends[1]);
    path = std::make_unique<KernelPath>(ours_.get(), device, MTU, vlan_id);
  }
  bool take(Bytes frame) {
    device.incoming.push_back(std::move(frame));
    RxFrame lent[1];
    EXPECT_EQ(device.rx_burst(lent), 1U);
    if (path->take(lent[0])) return true;
    device.rx_release(lent[0].token);
    return false;
  }
  // What the kernel has got next; empty: nothing.
  Bytes got() const {
    Bytes frame(4'096);
    const ssize_t size = ::recv(kernel.get(), frame.data(), frame.size(), 0);
    frame.resize(size > 0 ? static_cast<size_t>(size) : 0);
    return frame;
  }
  void kernel_sends(const Bytes& frame) const {
    EXPECT_EQ(::send(kernel.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
  }

  ScriptDevice device;
  UniqueFd kernel;
  std::unique_ptr<KernelPath> path;

 private:
  UniqueFd ours_;
};

TEST(KernelPath, frames_go_both_ways_as_they_are) {
  PathWorld world;
  ASSERT_TRUE(world.take(frame_of(1)));
  EXPECT_TRUE(world.path->waits());
  EXPECT_EQ(world.got(), Bytes());  // with the next turn
  world.path->to_kernel();
  EXPECT_EQ(world.got(), frame_of(1));
  EXPECT_FALSE(world.path->waits());
  EXPECT_TRUE(world.device.lent.empty());
  world.kernel_sends(frame_of(2));
  EXPECT_EQ(world.path->from_kernel(), KernelPath::Left::NOTHING);
  ASSERT_EQ(world.device.sent.size(), 1U);
  EXPECT_EQ(world.device.sent[0].bytes, frame_of(2));
  EXPECT_EQ(world.path->counts().to_kernel, 1U);
  EXPECT_EQ(world.path->counts().from_kernel, 1U);
  EXPECT_EQ(world.path->counts().drops, 0U);
}

TEST(KernelPath, a_full_queue_drops_and_counts_and_keeps_the_order) {
  PathWorld world;
  for (uint32_t i = 0; i < KernelPath::QUEUE_MAX; ++i) ASSERT_TRUE(world.take(frame_of(static_cast<uint8_t>(i))));
  EXPECT_FALSE(world.take(frame_of(0)));
  EXPECT_EQ(world.path->counts().drops, 1U);
  uint32_t next = 0;
  while (world.path->waits()) {
    world.path->to_kernel();
    uint32_t in_turn = 0;
    for (Bytes frame = world.got(); !frame.empty(); frame = world.got(), ++in_turn)
      EXPECT_EQ(frame, frame_of(static_cast<uint8_t>(next++)));
    EXPECT_LE(in_turn, KernelPath::BURST);
  }
  EXPECT_EQ(next, KernelPath::QUEUE_MAX);
  EXPECT_TRUE(world.device.lent.empty());
}

TEST(KernelPath, what_waits_is_given_back_at_its_end) {
  PathWorld world;
  for (uint8_t i = 0; i < 3; ++i) ASSERT_TRUE(world.take(frame_of(i)));
  world.path.reset();
  EXPECT_TRUE(world.device.lent.empty());
}

TEST(KernelPath, a_turn_takes_a_burst_of_the_kernels_and_no_more) {
  PathWorld world;
  for (uint8_t i = 0; i < KernelPath::BURST + 1; ++i) world.kernel_sends(frame_of(i));
  EXPECT_EQ(world.path->from_kernel(), KernelPath::Left::MORE);
  EXPECT_EQ(world.device.sent.size(), KernelPath::BURST);
  EXPECT_EQ(world.path->from_kernel(), KernelPath::Left::NOTHING);
  ASSERT_EQ(world.device.sent.size(), KernelPath::BURST + 1);
  EXPECT_EQ(world.device.sent.back().bytes, frame_of(KernelPath::BURST));
}

TEST(KernelPath, what_either_side_does_not_take_is_counted) {
  PathWorld world;
  world.device.takes_max = 1;
  for (uint8_t i = 0; i < 3; ++i) world.kernel_sends(frame_of(i));
  EXPECT_EQ(world.path->from_kernel(), KernelPath::Left::NOTHING);
  EXPECT_EQ(world.path->counts().from_kernel, 1U);
  EXPECT_EQ(world.path->counts().drops, 2U);
  world.kernel.reset();  // as a TAP device that is down, or gone
  ASSERT_TRUE(world.take(frame_of(1)));
  world.path->to_kernel();
  EXPECT_EQ(world.path->counts().to_kernel, 0U);
  EXPECT_EQ(world.path->counts().drops, 3U);
  EXPECT_TRUE(world.device.lent.empty());
}

TEST(KernelPath, frames_larger_than_the_link_takes_are_dropped) {
  PathWorld world;
  world.kernel_sends(frame_of(1, 0, MTU));
  world.kernel_sends(frame_of(2, 7, MTU));
  world.kernel_sends(frame_of(3, 0, MTU + 9));
  world.kernel_sends(frame_of(4, 0, 3'000));
  world.kernel_sends(Bytes(13, 5));
  EXPECT_EQ(world.path->from_kernel(), KernelPath::Left::NOTHING);
  EXPECT_EQ(world.device.sent.size(), 2U);
  EXPECT_EQ(world.path->counts().drops, 3U);
}

TEST(KernelPath, within_a_vlan_the_tag_is_on_the_wire_only) {
  PathWorld world(5);
  for (const uint16_t vlan_id : std::initializer_list<uint16_t>{5, 6, 0}) ASSERT_TRUE(world.take(frame_of(1, vlan_id)));
  world.path->to_kernel();
  EXPECT_EQ(world.got(), frame_of(1));
  EXPECT_EQ(world.got(), frame_of(1, 6));  // for an interface of that VLAN's, if there is one
  EXPECT_EQ(world.got(), Bytes());
  EXPECT_EQ(world.path->counts().drops, 1U);
  world.kernel_sends(frame_of(2));
  world.kernel_sends(frame_of(3, 6));
  EXPECT_EQ(world.path->from_kernel(), KernelPath::Left::NOTHING);
  ASSERT_EQ(world.device.sent.size(), 2U);
  EXPECT_EQ(world.device.sent[0].bytes, frame_of(2, 5));
  EXPECT_EQ(world.device.sent[1].bytes, frame_of(3, 6));
}

// Two engines on one port, and the kernel's end.
struct SharedByTwo {
  explicit SharedByTwo(int kernel_fd) {
    for (const bool first : {true, false}) {
      EngineOptions options;
      options.transport.connections_max = 16;
      options.net = TcpBench::default_config();
      options.kernel_fd = kernel_fd;
      options.first = first;
      auto opened = EngineTransport::open(devices[first ? 0 : 1], options, now);
      EXPECT_TRUE(opened.has_value());
      engines[first ? 0 : 1] = std::move(*opened);
    }
  }
  void turn(size_t engine) {
    TransportEvent events[8];
    now = now + milliseconds(1);
    (void)engines[engine]->poll(now, now, events);
  }
  MonoTime now = MonoTime{} + seconds(1);
  ScriptDevice devices[2];
  std::unique_ptr<EngineTransport> engines[2];
};

TEST(KernelPath, of_several_engines_one_announces_and_takes_what_the_kernel_sends_and_each_hands_on) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd ours(ends[0]);
  const UniqueFd kernel(ends[1]);
  SharedByTwo port(ours.get());
  port.turn(1);
  EXPECT_TRUE(port.devices[1].sent.empty());
  port.turn(0);
  EXPECT_FALSE(port.devices[0].sent.empty());
  for (ScriptDevice& device : port.devices) device.sent.clear();

  const Bytes frame = frame_of(7);
  ASSERT_EQ(::send(kernel.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
  port.turn(1);
  port.turn(1);
  EXPECT_TRUE(port.devices[1].sent.empty());
  port.turn(0);
  port.turn(0);
  ASSERT_EQ(port.devices[0].sent.size(), 1U);
  EXPECT_EQ(port.devices[0].sent[0].bytes, frame);

  for (size_t i = 0; i < 2; ++i) {
    Bytes other(60);
    store_be16(&other[12], 0x88cc);
    std::fill_n(other.begin(), 6, uint8_t{0xff});
    port.devices[i].incoming.push_back(other);
    port.turn(i);
    Bytes got(100);
    EXPECT_EQ(::recv(kernel.get(), got.data(), got.size(), 0), 60) << i;
    EXPECT_TRUE(port.devices[i].lent.empty());
  }
}

}  // namespace
}  // namespace penstock
