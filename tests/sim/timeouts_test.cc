// FEATURES RD3: whoever keeps the server waiting is ended when his time is up, never before and at most a second later.
#include "tests/sim/sim_world.h"
#include "tests/support/effort.h"

#include <gtest/gtest.h>
#include <map>
#include <string_view>
#include <sys/socket.h>

namespace penstock {
namespace {

constexpr const char* TIMES =
    "site.s.hosts = *\nsite.s.root = /sim\nlog.access.path = /sim.log\nlimits.header_timeout = 30s\n"
    "limits.idle_timeout = 75s\nlimits.body_timeout = 20s\nlimits.linger_timeout = 5s\nlimits.send_rate_min = 1000\n"
    "limits.send_rate_window = 10s\n";
constexpr Duration STEP = milliseconds(50);
constexpr Duration LATE_MAX = seconds(1);

class Timeouts : public testing::Test {
 protected:
  Timeouts() : world({.seed = 1, .reactors = 1, .config = TIMES, .connections_max = 600}) {
    world.tree().put("a.txt", "content", world.clock().wall());
    world.tree().put("long.txt", std::string(1'000'000, 'x'), world.clock().wall());
    world.advance(seconds(1));
  }

  void TearDown() override {
    world.advance(seconds(6));  // whoever was refused has been listened to
    turn(30);
    EXPECT_EQ(world.faults_at_end(0), std::vector<std::string>{});
  }

  void turn(int times) {
    for (int i = 0; i < times; ++i) world.step();
  }
  uint32_t connect() {
    PeerAddress peer;
    peer.family = AF_INET;
    peer.ip[0] = 127;
    return world.transport(0).client_connect(SimWorld::LISTENER, peer);
  }
  void say(uint32_t client, std::string_view text) { world.transport(0).client_send(client, text); }
  bool ended(uint32_t client) {
    const SimTransport::ClientState state = world.transport(0).client_state(client);
    return state == SimTransport::ClientState::FINISHED || state == SimTransport::ClientState::RESET;
  }
  MonoTime now() { return world.clock().now(); }

  // What the client got until the server ended him, who takes all that comes; he says `drip` every five seconds.
  std::string until_ended(uint32_t client, Duration patience, std::string_view drip = "") {
    const MonoTime began = now();
    MonoTime said = began;
    std::string got;
    turn(8);
    while (!ended(client) && now() - began < patience + seconds(60)) {
      if (!drip.empty() && now() - said >= seconds(5)) {
        said = now();
        say(client, drip);
      }
      world.advance(STEP);
      turn(4);
      got += world.transport(0).client_take(client);
    }
    EXPECT_GE((now() - began).ns, patience.ns);
    EXPECT_LE((now() - began).ns, (patience + LATE_MAX).ns);
    return got;
  }

  SimWorld world;
};

TEST_F(Timeouts, a_head_that_stops_is_ended_when_its_time_is_up) {
  const uint32_t client = connect();
  say(client, "GET /a.txt HTTP/1.1\r\nHo");
  const std::string got = until_ended(client, seconds(30));
  EXPECT_TRUE(got.starts_with("HTTP/1.1 408 ")) << got;
  EXPECT_EQ(world.counters(0).timeouts_head.get(), 1U);
}

TEST_F(Timeouts, a_head_that_drips_gains_no_time_by_each_byte) {
  const uint32_t client = connect();
  say(client, "GET /a.txt HTTP/1.1\r\nHost: h\r\nX: ");
  EXPECT_TRUE(until_ended(client, seconds(30), "x").starts_with("HTTP/1.1 408 "));
  EXPECT_EQ(world.counters(0).timeouts_head.get(), 1U);
}

TEST_F(Timeouts, a_connection_that_asks_nothing_is_ended_when_its_time_is_up) {
  EXPECT_EQ(until_ended(connect(), seconds(75)), "");
  const uint32_t asked = connect();
  say(asked, "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(until_ended(asked, seconds(75)).ends_with("\r\n\r\ncontent"));
  EXPECT_EQ(world.counters(0).timeouts_idle.get(), 2U);
}

TEST_F(Timeouts, a_body_that_stops_is_ended_when_its_time_is_up) {
  const uint32_t client = connect();
  say(client, "GET /a.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc");
  (void)until_ended(client, seconds(20));
  EXPECT_EQ(world.counters(0).timeouts_body.get(), 1U);
}

TEST_F(Timeouts, a_reader_who_takes_nothing_is_ended_after_the_window_that_he_let_go_by) {
  const uint32_t client = connect();
  const MonoTime began = now();
  say(client, "GET /long.txt HTTP/1.1\r\nHost: h\r\n\r\n");
  turn(8);
  while (!ended(client) && now() - began < seconds(60)) {
    world.advance(STEP);
    turn(4);
  }
  EXPECT_GE((now() - began).ns, seconds(10).ns);
  EXPECT_LE((now() - began).ns, (seconds(10) * 2 + LATE_MAX).ns);  // a window begins at a look at him
  EXPECT_EQ(world.counters(0).timeouts_send.get(), 1U);
}

// A byte each five seconds, as in the row; whoever came later has his own time.
TEST_F(Timeouts, each_of_five_hundred_slow_attackers_is_ended_within_a_second_of_his_time) {
  constexpr size_t ATTACKERS = one_threaded_rounds(500);
  std::map<uint32_t, MonoTime> began;
  Duration latest{};
  size_t gone = 0;
  MonoTime dripped = now();
  for (int i = 0; gone < ATTACKERS && i < 2000; ++i) {
    if (began.size() < ATTACKERS) {
      const uint32_t client = connect();
      say(client, "G");
      began.emplace(client, now());
    }
    const bool drips = now() - dripped >= seconds(5);
    if (drips) dripped = now();
    for (auto& [client, since] : began) {
      if (since.ns == 0) continue;
      if (drips) say(client, "E");
      const std::string got = world.transport(0).client_take(client);
      if (!got.starts_with("HTTP/1.1 408 ")) continue;
      const Duration took = now() - since;
      EXPECT_GE(took.ns, seconds(30).ns);
      latest = std::max(latest, took);
      since.ns = 0;
      ++gone;
    }
    world.advance(STEP);
    turn(4);
  }
  EXPECT_EQ(gone, ATTACKERS);
  EXPECT_LE(latest.ns, (seconds(30) + LATE_MAX).ns);
  EXPECT_EQ(world.counters(0).timeouts_head.get(), ATTACKERS);
}

}  // namespace
}  // namespace penstock
