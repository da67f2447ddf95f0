// A client in a second namespace, behind Linux as a router whose far side takes less than our own wire:
//   engine ── tap77 (1,500) ── Linux, forwarding ── near77 (1,280) ══ a wire, relayed here ══ far77 ── client
#include "tests/net_tap/tap_world.h"

#include <atomic>
#include <gtest/gtest.h>
#include <poll.h>

namespace penstock {
namespace {

constexpr uint16_t NARROW_MTU = 1'280;  // IPv6 knows no less
const IpAddress NEAR4 = IpAddress::v4(10, 77, 1, 1);
const IpAddress FAR4 = IpAddress::v4(10, 77, 1, 2);

// Carries frames between two TAP devices until it dies.
class WatchedWire {
 public:
  WatchedWire(int one, int other) : fds_{one, other}, thread_([this] { carry(); }) {}
  ~WatchedWire() {
    stop_ = true;
    thread_.join();
  }
  WatchedWire(const WatchedWire&) = delete;
  WatchedWire& operator=(const WatchedWire&) = delete;

 private:
  void carry() {
    uint8_t frame[TapDevice::FRAME_BYTES];
    while (!stop_) {
      pollfd ready[2] = {{fds_[0], POLLIN, 0}, {fds_[1], POLLIN, 0}};
      (void)::poll(ready, 2, 20);
      for (int i = 0; i < 2; ++i) {
        for (ssize_t got = 0; (got = ::read(fds_[i], frame, sizeof frame)) > 0;)
          (void)!::write(fds_[1 - i], frame, static_cast<size_t>(got));  // what does not fit is lost, as on any wire
      }
    }
  }

  int fds_[2];
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Builds the far side, in a namespace of the calling thread's own. nullptr: `wrong` says why.
std::unique_ptr<TapDevice> build_far_side(std::string& wrong) {
  wrong = enter_network_namespace();
  if (!wrong.empty()) return nullptr;
  std::unique_ptr<TapDevice> far = TapDevice::open("far77", wrong);
  if (far == nullptr) return nullptr;
  wrong = bring_up("far77", TapWorld::MTU, FAR4, v6_address(1, 2));
  if (wrong.empty()) wrong = add_default_route("far77", NEAR4);
  if (wrong.empty()) wrong = add_default_route("far77", v6_address(1, 1));
  return far;
}

TEST(NetTapPath, what_a_router_says_of_its_mtu_makes_segments_smaller) {
  TapWorld world;
  std::string wrong = world.wrong();
  std::unique_ptr<TapDevice> near;
  if (wrong.empty()) near = TapDevice::open("near77", wrong);
  for (const char* path : {"ipv4/ip_forward", "ipv6/conf/all/forwarding"}) {
    if (wrong.empty()) wrong = set_net_switch(path, "1");
  }
  if (wrong.empty()) wrong = bring_up("near77", NARROW_MTU, NEAR4, v6_address(1, 1));
  if (!wrong.empty()) GTEST_SKIP() << "this machine does not allow " << wrong;
  std::thread client([&] {
    const std::unique_ptr<TapDevice> far = build_far_side(wrong);
    if (!wrong.empty()) return;
    const WatchedWire wire(near->fd(), far->fd());
    for (const bool v6 : {false, true}) {
      const LinuxSocket down = world.connect(v6, TapService::SOURCE);
      ASSERT_GE(down.fd(), 0);
      EXPECT_TRUE(TapWorld::download(down, MIB));
      EXPECT_EQ(world.engine().counters().path_mtu_reduced, v6 ? 2U : 1U);
      EXPECT_LE(down.info().tcpi_rcv_mss, NARROW_MTU - (v6 ? 40U : 20U) - 20U - 12U);
      const LinuxSocket up = world.connect(v6, TapService::SINK);
      EXPECT_TRUE(TapWorld::upload(up, MIB));
    }
    EXPECT_TRUE(world.at_rest());
  });
  client.join();
  if (!wrong.empty()) GTEST_SKIP() << "this machine does not allow " << wrong;
}

}  // namespace
}  // namespace penstock
