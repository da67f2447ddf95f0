// One suite for every transport: the last bytes of a connection, and its end behind them.
#include "tests/unit/transport/conformance.h"

#include <gtest/gtest.h>

namespace penstock::test {
namespace {

class EndConformance : public Conformance {
 protected:
  // Sends, closes as soon as that is SENT, and lets the peer read to the end.
  std::unique_ptr<Peer> send_and_close(const std::string& text, bool more) {
    std::unique_ptr<Peer> peer = connect();
    Server::Conn& conn = *server_->conns().back();
    const SendPart part = SendPart::memory(text.data(), text.size());
    world_->transport().send(conn.handle, {&part, 1}, more);
    std::string got;
    EXPECT_TRUE(server_->until([&] {
      if (conn.sent == 1 && !conn.ended) server_->close(conn);
      got += peer->read(text.size() + 1 - got.size());
      return peer->end() != Peer::End::OPEN;
    })) << "after "
        << got.size() << " of " << text.size();
    EXPECT_TRUE(got == text);
    EXPECT_EQ(peer->end(), Peer::End::FIN);
    return peer;
  }
};

TEST_P(EndConformance, last_bytes_arrive_whole_before_the_close) {
  OPEN();
  for (const size_t size : {1U, 1'300U, 70'000U, 2'000'000U}) (void)send_and_close(pattern(size, size), true);
}

TEST_P(EndConformance, last_bytes_take_the_close_along_in_their_packet) {
  OPEN();
  const auto first = send_and_close("who has which address is known from here on", true);
  const auto apart = send_and_close("one packet, and one for its end", false);
  if (is_tls(GetParam()) || apart->packets() == 0) GTEST_SKIP() << "not counted";
  const auto together = send_and_close("one packet with its end", true);
  EXPECT_EQ(together->packets() + 1, apart->packets());
}

TEST_P(EndConformance, last_bytes_for_whose_end_nobody_waits_arrive_whole_before_the_close) {
  OPEN();
  for (const size_t size : {1U, 1'300U, 16'384U, 70'000U, 2'000'000U}) {
    const std::string text = pattern(size, size);
    const auto peer = connect();
    Server::Conn& conn = *server.conns().back();
    peer->write("said");
    ASSERT_TRUE(server.until([&] { return conn.received == "said"; }));
    // In one part, and in two.
    const SendPart parts[] = {SendPart::memory(text.data(), size / 2 + 1),
                              SendPart::memory(text.data() + size / 2 + 1, size - size / 2 - 1)};
    const SendPart whole = SendPart::memory(text.data(), size);
    world.transport().no_hurry(conn.handle);
    world.transport().send(conn.handle, size % 4 == 0 ? std::span(parts) : std::span(&whole, 1), true);
    std::string got;
    EXPECT_TRUE(server.until([&] {
      if (conn.sent == 1 && !conn.ended) server.close(conn);
      got += peer->read(size + 1 - got.size());
      return conn.ended && peer->end() != Peer::End::OPEN;
    })) << "after "
        << got.size() << " of " << size;
    EXPECT_TRUE(got == text);
    EXPECT_EQ(peer->end(), Peer::End::FIN);
  }
}

// Its descriptor may be the next one's as soon as it is closed: neither end must suffer.
TEST_P(EndConformance, last_bytes_and_a_close_do_not_reach_the_next_connection) {
  OPEN();
  const std::string text = pattern(1'300, 1);
  const SendPart parts[] = {SendPart::memory(text.data(), text.size())};
  const int rounds = has_kernel_threads(GetParam()) ? 100 : 20;
  for (int round = 0; round < rounds; ++round) {
    const auto before = connect();
    auto& ended = *server.conns().back();
    before->write("said");
    ASSERT_TRUE(server.until([&] { return ended.received == "said"; }));
    if (round % 5 < 2) world.transport().no_hurry(ended.handle);
    world.transport().send(ended.handle, parts, true);
    if (round % 3 == 0) {  // before it is SENT
      const bool parts_are_lent = round % 2 == 0 ? server.close(ended) : server.reset(ended);
      if (!parts_are_lent) ended.closed = 1;
    }
    const auto after = world.connect();
    ASSERT_NE(after, nullptr);
    ASSERT_TRUE(server.until([&] {
      if (ended.sent == 1 && !ended.ended) server.close(ended);
      return ended.ended && (ended.sent == 1 || ended.closed == 1) && server.conns().back().get() != &ended;
    })) << "round "
        << round;
    if (ended.sent == 1) {
      ASSERT_TRUE(read(*before, text.size()) == text) << "round " << round;
    }
    world.transport().send(server.conns().back()->handle, parts, false);
    ASSERT_TRUE(read(*after, text.size()) == text) << "round " << round;
    server.close_all();
  }
}

TEST_P(EndConformance, last_bytes_to_a_peer_that_is_gone_end_in_one_event) {
  OPEN();
  const auto peer = connect();
  Server::Conn& conn = server.conn(0);
  peer->write("said");
  ASSERT_TRUE(server.until([&] { return conn.received == "said"; }));
  peer->reset();
  const SendPart part = SendPart::memory("too late", 8);
  world.transport().send(conn.handle, {&part, 1}, true);
  EXPECT_TRUE(server.until([&] {
    if (conn.sent == 1 && !conn.ended) server.close(conn);
    return conn.sent + conn.failed > 0;
  }));
  EXPECT_EQ(conn.sent + conn.failed, 1);
}

INSTANTIATE_TEST_SUITE_P(Transports, EndConformance, testing::ValuesIn(ALL_KINDS), conformance_name);

}  // namespace
}  // namespace penstock::test
