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
  const auto apart = send_and_close("one packet, and one for its end", false);
  if (is_tls(GetParam()) || apart->packets() == 0) GTEST_SKIP() << "not counted";
  const auto together = send_and_close("one packet with its end", true);
  EXPECT_EQ(together->packets() + 1, apart->packets());
}

INSTANTIATE_TEST_SUITE_P(Transports, EndConformance, testing::ValuesIn(ALL_KINDS), conformance_name);

}  // namespace
}  // namespace penstock::test
