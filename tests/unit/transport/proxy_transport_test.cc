// Over the simulator's transport, which sees each breach of the contract below; the test is the reactor above.
#include "src/transport/proxy_transport.h"

#include "tests/support/sim_transport.h"

#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>

namespace penstock {
namespace {

constexpr TransportOptions PROXY_OPTIONS{.connections_max = 16, .receive_buffers = 8, .receive_buffer_bytes = 256};
constexpr PeerAddress PROXY{.family = AF_INET, .port = 40'000, .ip = {10, 0, 0, 1}};
constexpr PeerAddress OTHER{.family = AF_INET, .port = 40'000, .ip = {10, 0, 1, 1}};
constexpr std::string_view HEADER = "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n";
constexpr Duration PATIENCE = seconds(5);

class ProxyTransportTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(proxied_.add_listener(-1, 1));
    const PeerRange range{.bits = 120, .ip = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0}};
    proxied_.set_proxies({&range, 1}, PATIENCE);
  }
  void TearDown() override {
    for (const Handle conn : open_) {
      if (proxied_.is_open(conn)) (void)proxied_.close(conn);
    }
    turn();
    sim_.at_end();
    EXPECT_EQ(sim_.violations(), std::vector<std::string>{});
  }
  // As text: "accepted 192.0.2.1:4711", "received abc", "closed", "noted 7".
  std::string turn(size_t room = 32) {
    std::vector<TransportEvent> events(room);
    events.resize(proxied_.poll(now_, now_, events));
    std::string said;
    std::vector<Handle> accepted;
    for (const TransportEvent& event : events) {
      if (!said.empty()) said += ", ";
      for (const Handle one : accepted) EXPECT_NE(one, event.conn) << "ACCEPTED is the only one of its batch";
      switch (event.kind) {
        case TransportEventKind::ACCEPTED:
          said += "accepted ";
          for (int i = 0; i < 4; ++i) said += std::to_string(event.peer.ip[i]) + (i < 3 ? "." : ":");
          said += std::to_string(event.peer.port);
          EXPECT_EQ(event.id, 1U);
          accepted.push_back(event.conn);
          open_.push_back(event.conn);
          proxied_.set_context(event.conn, this);
          break;
        case TransportEventKind::RECEIVED:
          said += "received " + std::string(event.data, event.size);
          EXPECT_EQ(event.context, this);
          proxied_.release(event.buffer);
          break;
        case TransportEventKind::PEER_CLOSED:
          said += "closed";
          break;
        case TransportEventKind::NOTED:
          said += "noted " + std::to_string(event.error);
          break;
        default:
          said += "other";
      }
    }
    return said;
  }
  uint32_t connect(const PeerAddress& peer, std::string_view bytes) {
    const uint32_t client = sim_.client_connect(1, peer);
    EXPECT_EQ(turn(), peer == PROXY ? "" : "accepted 10.0.1.1:40000");
    sim_.client_send(client, bytes);
    return client;
  }

  SimTransport sim_{PROXY_OPTIONS, 1};
  ProxyTransport proxied_{sim_, {.invalid = 7, .late = 8}};
  MonoTime now_{1'000'000};
  std::vector<Handle> open_;
};

TEST_F(ProxyTransportTest, shows_a_connection_with_its_client_when_the_header_has_come) {
  const uint32_t client = connect(PROXY, std::string(HEADER) + "GET");
  EXPECT_EQ(turn(), "accepted 192.0.2.1:4711");
  const PeerAddress server = proxied_.local_address(open_.back());
  EXPECT_EQ(server.port, 443);
  EXPECT_EQ(server.ip[0], 198);
  EXPECT_EQ(turn(), "received GET");
  sim_.client_send(client, " /");
  EXPECT_EQ(turn(), "received  /");
}

TEST_F(ProxyTransportTest, puts_a_header_together_that_comes_in_pieces) {
  const uint32_t client = connect(PROXY, "");
  for (const char c : HEADER) {
    EXPECT_EQ(turn(), "");
    sim_.client_send(client, std::string(1, c));
  }
  sim_.client_send(client, "GET");
  EXPECT_EQ(turn(), "accepted 192.0.2.1:4711");
  EXPECT_EQ(turn(), "received GET");
}

TEST_F(ProxyTransportTest, keeps_the_order_of_what_follows) {
  const uint32_t client = connect(PROXY, std::string(HEADER) + "a");
  sim_.client_half_close(client);
  std::string said = turn();
  EXPECT_EQ(said, "accepted 192.0.2.1:4711");
  said = turn();
  if (said == "received a") said += ", " + turn();
  EXPECT_EQ(said, "received a, closed");
}

TEST_F(ProxyTransportTest, gives_buffers_back_of_what_was_closed_before_it_was_seen) {
  connect(PROXY, std::string(HEADER) + "GET");
  EXPECT_EQ(turn(), "accepted 192.0.2.1:4711");
  (void)proxied_.close(open_.back());
  EXPECT_EQ(turn(), "");
  EXPECT_EQ(sim_.buffers_lent(), 0U);
}

TEST_F(ProxyTransportTest, takes_the_word_of_nobody_else) {
  connect(OTHER, std::string(HEADER) + "GET");
  EXPECT_EQ(turn(), "received " + std::string(HEADER) + "GET");
}

TEST_F(ProxyTransportTest, shows_the_proxy_where_that_says_nothing) {
  connect(PROXY, "PROXY UNKNOWN\r\n");
  EXPECT_EQ(turn(), "accepted 10.0.0.1:40000");
}

TEST_F(ProxyTransportTest, ends_a_connection_without_a_header_and_says_so_once) {
  const uint32_t client = connect(PROXY, "GET / HTTP/1.1\r\n");
  EXPECT_EQ(turn(), "noted 7");
  EXPECT_EQ(sim_.client_state(client), SimTransport::ClientState::RESET);
  EXPECT_EQ(turn(), "");
  const uint32_t cut = connect(PROXY, "PROXY TC");
  EXPECT_EQ(turn(), "");
  sim_.client_half_close(cut);
  EXPECT_EQ(turn(), "noted 7");
}

TEST_F(ProxyTransportTest, lets_go_without_a_word_of_who_only_looks_whether_we_are_there) {
  const uint32_t client = connect(PROXY, "");
  sim_.client_half_close(client);
  EXPECT_EQ(turn(), "");
  EXPECT_EQ(sim_.connection_count(), 0U);
}

TEST_F(ProxyTransportTest, waits_no_longer_than_its_patience) {
  const uint32_t client = connect(PROXY, "PROXY ");
  EXPECT_EQ(turn(), "");
  now_ = now_ + PATIENCE - milliseconds(1);
  EXPECT_EQ(turn(), "");
  now_ = now_ + milliseconds(1);
  EXPECT_EQ(turn(), "noted 8");
  EXPECT_EQ(sim_.client_state(client), SimTransport::ClientState::RESET);
}

TEST_F(ProxyTransportTest, serves_more_at_once_than_a_batch_holds) {
  std::vector<uint32_t> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(sim_.client_connect(1, PROXY));
    sim_.client_send(clients.back(), std::string(HEADER) + "x");
  }
  std::string said;
  for (int i = 0; i < 40; ++i) said += turn(2);
  size_t received = 0;
  for (size_t at = said.find("received x"); at != std::string::npos; at = said.find("received x", at + 1)) ++received;
  EXPECT_EQ(received, 6U);
}

}  // namespace
}  // namespace penstock
