// A server that drains: no request that a client may still have sent is lost, and no connection keeps it for long.
#include "tests/sim/sim_world.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace penstock {
namespace {

constexpr const char* DRAIN_CONFIG =
    "site.s.hosts = *\nsite.s.root = /sim\nserver.drain_idle_timeout = 1s\nlimits.send_rate_min = 0\n"
    "log.access.path = /sim.log\n";
const std::string GET_FILE = "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n";

class Drain : public testing::Test {
 protected:
  Drain() : world({.seed = 1, .reactors = 1, .config = DRAIN_CONFIG}) {
    world.tree().put("a.txt", "content", world.clock().wall());
    world.advance(seconds(1));
  }

  void TearDown() override {
    turn();
    EXPECT_EQ(world.faults_at_end(0), std::vector<std::string>{});
  }

  void turn(int times = 30) {
    for (int i = 0; i < times; ++i) world.step();
  }
  uint32_t connect() {
    PeerAddress peer;
    peer.family = AF_INET;
    peer.ip[0] = 127;
    const uint32_t client = world.transport(0).client_connect(SimWorld::LISTENER, peer);
    turn();
    return client;
  }
  std::string ask(uint32_t client) {
    world.transport(0).client_send(client, GET_FILE);
    turn();
    return world.transport(0).client_take(client);
  }
  bool ended(uint32_t client) { return world.transport(0).client_state(client) == SimTransport::ClientState::FINISHED; }
  static bool says_close(const std::string& answer) {
    return answer.find("Connection: close\r\n") != std::string::npos;
  }

  SimWorld world;
};

TEST_F(Drain, answers_the_next_request_of_an_open_connection_and_says_close) {
  const uint32_t client = connect();
  EXPECT_FALSE(says_close(ask(client)));
  world.drain();
  turn();
  EXPECT_FALSE(ended(client)) << "a request may be on its way";
  const std::string answer = ask(client);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200") && answer.ends_with("content")) << answer;
  EXPECT_TRUE(says_close(answer));
  EXPECT_TRUE(ended(client));
}

TEST_F(Drain, answers_the_first_request_of_a_connection_that_has_said_nothing_yet) {
  const uint32_t client = connect();
  world.drain();
  turn();
  EXPECT_TRUE(says_close(ask(client)));
  EXPECT_TRUE(ended(client));
}

TEST_F(Drain, ends_a_connection_that_asks_nothing_when_the_time_is_up) {
  const uint32_t used = connect();
  (void)ask(used);
  const uint32_t silent = connect();
  world.drain();
  turn();
  EXPECT_FALSE(ended(used) || ended(silent));
  world.advance(seconds(1));
  turn();
  EXPECT_TRUE(ended(used) && ended(silent));
}

TEST_F(Drain, sends_an_answer_to_its_end_before_it_ends_the_connection) {
  world.tree().put("a.txt", std::string(100'000, 'x'), world.clock().wall());
  world.advance(seconds(1));
  const uint32_t client = connect();
  world.transport(0).client_send(client, GET_FILE);
  turn();
  std::string answer = world.transport(0).client_take(client, 10);
  world.drain();
  turn();
  world.advance(seconds(2));
  turn();
  EXPECT_FALSE(ended(client));
  for (int i = 0; i < 100; ++i) {
    turn(2);
    answer += world.transport(0).client_take(client);
  }
  EXPECT_TRUE(answer.ends_with("\r\n\r\n" + std::string(100'000, 'x'))) << answer.size();
  EXPECT_TRUE(ended(client));
}

}  // namespace
}  // namespace penstock
