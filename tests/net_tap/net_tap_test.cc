// The engine against Linux's TCP, in real time. Nothing here measures time; every wait ends in ten seconds.
#include "tests/net_tap/tap_world.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

#define WORLD_OR_SKIP(world) \
  if (!(world).wrong().empty()) GTEST_SKIP() << "this machine does not allow " << (world).wrong()

TEST(NetTap, echoes_and_closes_over_both_versions) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  for (const bool v6 : {false, true}) {
    LinuxSocket socket = world.connect(v6, TapService::ECHO);
    ASSERT_GE(socket.fd(), 0);
    EXPECT_TRUE(socket.send_pattern(5'000));
    EXPECT_TRUE(socket.receive_pattern(5'000));
    EXPECT_TRUE(socket.half_close());
    EXPECT_TRUE(socket.at_end());
  }
  EXPECT_TRUE(world.at_rest());
  const NetCounters counters = world.engine().counters();
  EXPECT_GE(counters.neighbour_answers, 2U);  // Linux asked for our address, by ARP and by neighbour discovery
  EXPECT_EQ(counters.connections_accepted, 2U);
  EXPECT_EQ(counters.connections_failed, 0U);
  EXPECT_EQ(counters.dropped(DropReason::TCP_CHECKSUM), 0U);
}

TEST(NetTap, answers_pings_up_to_the_mtu) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  for (const size_t size : {0U, 1U, 56U, 1'400U}) {
    EXPECT_TRUE(TapWorld::ping(false, size)) << size;
    EXPECT_TRUE(TapWorld::ping(true, size)) << size;
  }
  EXPECT_TRUE(TapWorld::ping(false, TapWorld::MTU - 20U - 8U));
  EXPECT_TRUE(TapWorld::ping(true, TapWorld::MTU - 40U - 8U));
  EXPECT_EQ(world.engine().counters().echo_replies, 10U);
}

TEST(NetTap, connects_to_linux_after_asking_for_its_address) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  for (const bool v6 : {false, true}) {
    const IpAddress& address = v6 ? TapWorld::LINUX6 : TapWorld::LINUX4;
    const LinuxSocket listener(v6);
    ASSERT_EQ(listener.bind(address, 8'077), 0);
    ASSERT_EQ(::listen(listener.fd(), 4), 0);
    bool begun = false;
    world.engine().run([&](NetStack&) { begun = world.engine().connect(address, 8'077, MIB); });
    ASSERT_TRUE(begun);
    const LinuxSocket socket(::accept(listener.fd(), nullptr, nullptr));
    ASSERT_GE(socket.fd(), 0);
    EXPECT_EQ(socket.info().tcpi_options & (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE),
              TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
    EXPECT_TRUE(socket.receive_pattern(MIB) && socket.at_end());
    EXPECT_TRUE(socket.send_pattern(MIB) && socket.half_close());
    world.engine().run([&](NetStack&) { begun = world.engine().connect(address, 8'078, MIB); });
    const uint32_t refused = v6 ? 2 : 1;
    EXPECT_TRUE(world.engine().wait_until([&](NetStack&) { return world.engine().seen.failed == refused; }));
    EXPECT_EQ(world.engine().seen.last_error, ECONNREFUSED);
  }
  EXPECT_TRUE(world.engine().wait_until([&](NetStack&) { return world.engine().seen.sunk_bytes == 2 * MIB; }));
  EXPECT_EQ(world.engine().seen.connected, 2U);
  EXPECT_EQ(world.engine().seen.wrong, 0U);
  EXPECT_GE(world.engine().counters().neighbour_requests, 1U);
  EXPECT_TRUE(world.at_rest());
}

TEST(NetTap, moves_16_mib_each_way_with_all_options) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  for (const bool v6 : {false, true}) {
    const LinuxSocket down = world.connect(v6, TapService::SOURCE);
    const LinuxSocket up = world.connect(v6, TapService::SINK);
    ASSERT_TRUE(down.fd() >= 0 && up.fd() >= 0);
    EXPECT_TRUE(TapWorld::download(down, 16 * MIB));
    EXPECT_TRUE(TapWorld::upload(up, 16 * MIB));
    const uint32_t mss = TapWorld::MTU - (v6 ? 40U : 20U) - 20U - 12U;
    for (const LinuxSocket* socket : {&down, &up}) {
      const tcp_info info = socket->info();
      EXPECT_EQ(info.tcpi_options & (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE),
                TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
      EXPECT_EQ(info.tcpi_snd_mss, mss);
      EXPECT_LE(info.tcpi_rcv_mss, mss);
    }
  }
  EXPECT_TRUE(world.at_rest());
  const NetCounters counters = world.engine().counters();
  EXPECT_GT(counters.payload_sums_reused, 1'000U);
  EXPECT_GT(counters.fast_path, counters.slow_path);
}

TEST(NetTap, half_closes_both_ways) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  LinuxSocket first = world.connect(false, TapService::SINK);  // Linux's FIN, then our answer
  EXPECT_TRUE(TapWorld::upload(first, 300'000));
  LinuxSocket second = world.connect(false, TapService::PARTING);  // our FIN, then Linux's bytes
  char bye[3];
  EXPECT_TRUE(second.receive_all(bye, 3) && second.at_end());
  EXPECT_EQ(std::string_view(bye, 3), "bye");
  EXPECT_TRUE(second.send_pattern(300'000) && second.half_close());
  EXPECT_TRUE(world.engine().wait_until([&](NetStack&) { return world.engine().seen.sunk_bytes == 600'000; }));
  EXPECT_TRUE(world.at_rest());
}

TEST(NetTap, resets_end_connections_at_both_ends) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  for (const bool v6 : {false, true}) {
    LinuxSocket socket = world.connect(v6, TapService::ECHO);
    ASSERT_TRUE(socket.send_pattern(100) && socket.receive_pattern(100));
    const linger at_once = {1, 0};
    ASSERT_EQ(::setsockopt(socket.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    socket.close();
    const uint32_t failed = v6 ? 2 : 1;
    EXPECT_TRUE(world.engine().wait_until([&](NetStack&) { return world.engine().seen.failed == failed; }));
    EXPECT_EQ(world.engine().seen.last_error, ECONNRESET);
    LinuxSocket victim = world.connect(v6, TapService::RESET);
    ASSERT_TRUE(victim.send_pattern(1));
    char byte;
    EXPECT_EQ(::recv(victim.fd(), &byte, 1, 0), -1);
    EXPECT_EQ(errno, ECONNRESET);
    EXPECT_EQ(LinuxSocket(v6).connect(TapWorld::ours(v6), 81), ECONNREFUSED);
  }
  EXPECT_TRUE(world.at_rest());
}

TEST(NetTap, serves_500_connections_one_after_another_and_100_at_once) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  for (int i = 0; i < 500; ++i) {
    LinuxSocket socket = world.connect(i % 2 != 0, TapService::SOURCE);
    ASSERT_TRUE(TapWorld::download(socket, 2'000)) << i;
  }
  std::vector<LinuxSocket> sockets;
  for (int i = 0; i < 100; ++i) sockets.push_back(world.connect(i % 2 != 0, TapService::ECHO));
  for (const LinuxSocket& socket : sockets) ASSERT_TRUE(socket.send_pattern(20'000) && socket.half_close());
  for (const LinuxSocket& socket : sockets) ASSERT_TRUE(socket.receive_pattern(20'000) && socket.at_end());
  EXPECT_TRUE(world.at_rest());
  EXPECT_EQ(world.engine().counters().connections_accepted, 600U);
}

TEST(NetTap, a_port_in_time_wait_is_taken_again) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  for (const bool v6 : {false, true}) {
    LinuxSocket first = world.connect(v6, TapService::SOURCE);  // we close first, and are who waits
    const uint16_t port = first.local_port();
    ASSERT_TRUE(TapWorld::download(first, 1'000));
    first.close();
    const uint32_t waiting = v6 ? 2 : 1;
    ASSERT_TRUE(world.engine().wait_until([&](NetStack& stack) { return stack.lent().time_wait == waiting; }));
    const LinuxSocket second(v6);
    second.set(SOL_SOCKET, SO_REUSEADDR, 1);
    ASSERT_EQ(second.bind(v6 ? TapWorld::LINUX6 : TapWorld::LINUX4, port), 0);
    ASSERT_EQ(second.connect(TapWorld::ours(v6), static_cast<uint16_t>(TapService::SOURCE)), 0);
    EXPECT_TRUE(TapWorld::download(second, 100'000));
    EXPECT_EQ(world.engine().counters().time_wait_reused, waiting);
  }
}

TEST(NetTap, a_flood_of_syns_leaves_cookies_that_know_all_options) {
  TapOptions options;
  options.limits.half_open_max = 0;
  TapWorld world(options);
  WORLD_OR_SKIP(world);
  for (const bool v6 : {false, true}) {
    const LinuxSocket down = world.connect(v6, TapService::SOURCE);
    EXPECT_TRUE(TapWorld::download(down, MIB));
    EXPECT_EQ(down.info().tcpi_options & (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE),
              TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
    const LinuxSocket up = world.connect(v6, TapService::SINK);
    EXPECT_TRUE(TapWorld::upload(up, MIB));
  }
  EXPECT_EQ(world.engine().counters().syn_cookies_accepted, 4U);
  EXPECT_TRUE(world.at_rest());
}

TEST(NetTap, a_client_that_stops_reading_goes_on_later) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  const LinuxSocket socket(false);
  socket.set(SOL_SOCKET, SO_RCVBUF, 32 * 1'024);
  ASSERT_EQ(socket.connect(TapWorld::OURS4, static_cast<uint16_t>(TapService::SOURCE)), 0);
  const uint8_t word[8] = {0, 0, 0, 0, 0, 0x20, 0, 0};
  ASSERT_TRUE(socket.send_all(word, 8));
  ASSERT_TRUE(world.engine().wait_until([](NetStack& stack) { return stack.counters().window_probes >= 2; }));
  EXPECT_TRUE(socket.receive_pattern(0x200000) && socket.at_end() && socket.half_close());
  EXPECT_EQ(world.engine().seen.failed, 0U);
  EXPECT_TRUE(world.at_rest());
}

TEST(NetTap, a_server_that_stops_reading_goes_on_later) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  world.engine().run([&](NetStack&) { world.engine().lazy = true; });
  const LinuxSocket socket = world.connect(false, TapService::SINK);
  ASSERT_GE(socket.fd(), 0);
  bool right = false;
  std::thread sender([&] { right = TapWorld::upload(socket, 4 * MIB); });
  // Linux probes with a number that is acknowledged already.
  EXPECT_TRUE(world.engine().wait_until(
      [](NetStack& stack) { return stack.counters().dropped(DropReason::TCP_OLD_DUPLICATE) >= 2; }));
  world.engine().run([&](NetStack&) { world.engine().start_reading(); });
  sender.join();
  EXPECT_TRUE(right);
  EXPECT_TRUE(world.at_rest());
}

TEST(NetTap, tiny_segments_carry_all) {
  TapWorld world;
  WORLD_OR_SKIP(world);
  for (const TapService service : {TapService::SOURCE, TapService::SINK}) {
    const LinuxSocket socket(false);
    socket.set(IPPROTO_TCP, TCP_MAXSEG, 88);
    ASSERT_EQ(socket.connect(TapWorld::OURS4, static_cast<uint16_t>(service)), 0);
    if (service == TapService::SOURCE) {
      EXPECT_TRUE(TapWorld::download(socket, 200'000));
    } else {
      EXPECT_TRUE(TapWorld::upload(socket, 200'000));
    }
    EXPECT_LE(socket.info().tcpi_rcv_mss, 88U);
    EXPECT_LE(socket.info().tcpi_snd_mss, 88U);
  }
  EXPECT_TRUE(world.at_rest());
}

TEST(NetTap, idle_connections_are_kept_alive) {
  TapOptions options;
  options.times.keepalive_idle = milliseconds(50);
  options.times.keepalive_interval = milliseconds(20);
  TapWorld world(options);
  WORLD_OR_SKIP(world);
  ASSERT_EQ(set_net_switch("ipv4/tcp_invalid_ratelimit", "0"), "");  // else Linux answers two probes a second
  const LinuxSocket socket = world.connect(true, TapService::ECHO);
  ASSERT_TRUE(socket.send_pattern(10) && socket.receive_pattern(10));
  EXPECT_TRUE(world.engine().wait_until([](NetStack& stack) { return stack.counters().keepalive_probes > 12; }));
  EXPECT_TRUE(socket.send_pattern(10) && socket.receive_pattern(10));
  EXPECT_EQ(world.engine().seen.failed, 0U);
}

struct FaultCase {
  const char* name;
  TapFaults faults;
};

class NetTapFaults : public testing::TestWithParam<FaultCase> {};

TEST_P(NetTapFaults, moves_4_mib_each_way) {
  TapOptions options;
  options.seed = 20;
  options.faults = GetParam().faults;
  TapWorld world(options);
  WORLD_OR_SKIP(world);
  const LinuxSocket down = world.connect(false, TapService::SOURCE);
  const LinuxSocket up = world.connect(true, TapService::SINK);
  ASSERT_TRUE(down.fd() >= 0 && up.fd() >= 0);
  bool right = false;
  std::thread other([&] { right = TapWorld::upload(up, 4 * MIB); });
  EXPECT_TRUE(TapWorld::download(down, 4 * MIB));
  other.join();
  EXPECT_TRUE(right);
  EXPECT_TRUE(world.at_rest());
  world.engine().run([&](NetStack& stack) {
    const FaultyDevice& device = world.engine().faulty();
    EXPECT_EQ(device.lost() != 0, GetParam().faults.lose_one_in != 0);
    EXPECT_EQ(device.delayed() != 0, GetParam().faults.delay_one_in != 0);
    EXPECT_GT(stack.counters().duplicate_acks_sent, 0U);
  });
}

INSTANTIATE_TEST_SUITE_P(Wire, NetTapFaults,
                         testing::Values(FaultCase{"loses_1_percent", {.lose_one_in = 100}},
                                         FaultCase{"loses_5_percent", {.lose_one_in = 20}},
                                         FaultCase{"reorders", {.delay_one_in = 20}},
                                         FaultCase{"loses_and_reorders", {.lose_one_in = 100, .delay_one_in = 20}}),
                         [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace penstock
