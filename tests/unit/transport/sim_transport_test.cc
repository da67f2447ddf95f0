// The simulator's transport must see every breach of the contract, and replay a seed exactly.
#include "tests/support/sim_transport.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace penstock {
namespace {

constexpr TransportOptions SIM_OPTIONS{.connections_max = 16, .receive_buffers = 8, .receive_buffer_bytes = 256};
constexpr PeerAddress CLIENT{.family = AF_INET, .port = 40'000, .ip = {127, 0, 0, 1}};

class SimTransportTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(sim_.add_listener(-1, 1));
    client_ = sim_.client_connect(1, CLIENT);
    const auto events = turn();
    ASSERT_EQ(events.size(), 1U);
    ASSERT_EQ(events[0].kind, TransportEventKind::ACCEPTED);
    conn_ = events[0].conn;
  }
  std::vector<TransportEvent> turn() {
    std::vector<TransportEvent> events(32);
    events.resize(sim_.poll({}, {}, events));
    return events;
  }
  void expect_violation(const std::string& part) {
    ASSERT_EQ(sim_.violations().size(), 1U);
    EXPECT_NE(sim_.violations()[0].find(part), std::string::npos) << sim_.violations()[0];
  }

  SimTransport sim_{SIM_OPTIONS, 1};
  uint32_t client_ = 0;
  Handle conn_;
};

TEST_F(SimTransportTest, an_honest_server_breaches_nothing) {
  sim_.client_send(client_, "ping");
  auto events = turn();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(std::string(events[0].data, events[0].size), "ping");
  sim_.release(events[0].buffer);
  sim_.send_bytes(conn_, "pong", 4);
  events = turn();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, TransportEventKind::SENT);
  sim_.close(conn_);
  EXPECT_EQ(sim_.client_take(client_), "pong");
  EXPECT_EQ(sim_.client_state(client_), SimTransport::ClientState::FINISHED);
  sim_.at_end();
  EXPECT_EQ(sim_.violations(), std::vector<std::string>{});
}

TEST_F(SimTransportTest, sees_a_second_send) {
  sim_.send_bytes(conn_, "a", 1);
  sim_.send_bytes(conn_, "b", 1);
  expect_violation("send while a send is outstanding");
}

TEST_F(SimTransportTest, sees_that_no_close_follows_the_last_send) {
  const SendPart part = SendPart::memory("a", 1);
  sim_.send(conn_, {&part, 1}, true);
  (void)turn();
  EXPECT_EQ(sim_.violations(), std::vector<std::string>{});
  (void)turn();
  expect_violation("no close followed the last send");
}

TEST_F(SimTransportTest, sees_a_send_after_shutdown) {
  sim_.shutdown_send(conn_);
  sim_.send_bytes(conn_, "a", 1);
  expect_violation("send after shutdown_send");
}

TEST_F(SimTransportTest, sees_parts_that_change_while_they_are_lent) {
  char text[] = "before";
  sim_.send_bytes(conn_, text, 6);
  text[0] = 'X';
  (void)turn();
  expect_violation("memory part changed");
}

TEST_F(SimTransportTest, sees_the_use_of_a_dead_handle) {
  sim_.close(conn_);
  sim_.set_receiving(conn_, false);
  expect_violation("set_receiving on a handle that is not open");
}

TEST_F(SimTransportTest, sees_a_call_after_failed_but_forgives_one_that_crosses_it) {
  sim_.client_reset(client_);
  ASSERT_EQ(turn()[0].kind, TransportEventKind::FAILED);
  sim_.send_bytes(conn_, "crosses", 7);
  EXPECT_TRUE(sim_.violations().empty());
  (void)turn();
  sim_.send_bytes(conn_, "late", 4);
  expect_violation("send after FAILED");
}

TEST_F(SimTransportTest, sees_a_buffer_released_twice) {
  sim_.client_send(client_, "x");
  const auto events = turn();
  sim_.release(events[0].buffer);
  sim_.release(events[0].buffer);
  expect_violation("which is not lent");
}

TEST_F(SimTransportTest, sees_at_the_end_what_was_never_given_back) {
  sim_.client_send(client_, "x");
  (void)turn();
  sim_.at_end();
  ASSERT_EQ(sim_.violations().size(), 2U);
  EXPECT_NE(sim_.violations()[0].find("1 receive buffers were never released"), std::string::npos);
  EXPECT_NE(sim_.violations()[1].find("a connection was never closed"), std::string::npos);
}

TEST_F(SimTransportTest, bytes_that_nobody_read_make_a_reset_of_a_close) {
  sim_.client_send(client_, "unread");
  sim_.close(conn_);
  EXPECT_EQ(sim_.client_state(client_), SimTransport::ClientState::RESET);
}

TEST_F(SimTransportTest, a_slow_reader_holds_the_send_back) {
  const std::string text(200'000, 'x');
  sim_.send_bytes(conn_, text.data(), text.size());
  EXPECT_TRUE(turn().empty());
  EXPECT_EQ(sim_.bytes_sent(conn_), 65'536U);
  size_t got = 0;
  for (int i = 0; i < 10 && got < text.size(); ++i) {
    got += sim_.client_take(client_, 50'000).size();
    (void)turn();
  }
  got += sim_.client_take(client_).size();
  EXPECT_EQ(got, text.size());
}

// Everything a run did, as text.
std::string run_seed(uint64_t seed) {
  SimTransport sim(SIM_OPTIONS, seed, SimFaults::from_seed(seed));
  (void)sim.add_listener(-1, 1);
  std::string story;
  const std::string answer(3'000, 'a');
  std::vector<uint32_t> clients;
  for (int turn = 0; turn < 60; ++turn) {
    if (turn % 5 == 0) clients.push_back(sim.client_connect(1, CLIENT));
    for (const uint32_t client : clients) {
      sim.client_send(client, "some bytes of a request");
      story += std::to_string(sim.client_take(client, 500).size()) + ",";
    }
    std::vector<TransportEvent> events(32);
    events.resize(sim.poll({}, {}, events));
    for (const TransportEvent& event : events) {
      story += std::to_string(static_cast<int>(event.kind)) + ":" + std::to_string(event.conn.index) + ":" +
               std::to_string(event.size) + " ";
      if (event.kind == TransportEventKind::RECEIVED) sim.release(event.buffer);
      if (event.kind == TransportEventKind::ACCEPTED) sim.send_bytes(event.conn, answer.data(), answer.size());
    }
  }
  return story;
}

TEST(SimTransportSeed, replays_exactly_and_differs_from_others) {
  for (uint64_t seed = 1; seed <= 50; ++seed) EXPECT_EQ(run_seed(seed), run_seed(seed)) << seed;
  EXPECT_NE(run_seed(1), run_seed(2));
}

}  // namespace
}  // namespace penstock
