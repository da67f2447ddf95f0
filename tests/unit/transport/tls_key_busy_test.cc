// A reactor for whose keys too many wait: the record says so, and not that the client was at fault.
#include "src/tls/remote_key_source.h"
#include "src/tls/tls_transport.h"
#include "tests/support/hand_clock.h"
#include "tests/support/sim_transport.h"
#include "tests/support/tls_world.h"

#include <deque>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <vector>

namespace penstock::test {
namespace {

constexpr TransportOptions OPTIONS{.connections_max = 8, .receive_buffers = 16, .receive_buffer_bytes = 2'048};

TEST(TlsKeyBusy, a_handshake_beyond_those_that_may_wait_is_noted_as_our_overload) {
  auto ends = create_key_channel();
  ASSERT_TRUE(ends.has_value());
  KeyChannel channel;  // nobody signs at its other end
  ASSERT_TRUE(channel.open(std::move(ends->memory), std::move(ends->bed)).has_value());
  auto keys = RemoteKeys::load(nullptr);
  ASSERT_TRUE(keys.has_value());
  RemoteKeySource source(*keys, channel);
  CertificateStore store(source);
  TestKeys unused;
  store.replace(make_test_table({{"site", {"*"}, {make_test_pair("example.org")}}}, unused));
  TicketKeys tickets;
  TlsLive live;
  auto context = TlsContext::make(store, tickets, live, {"http/1.1"});
  ASSERT_TRUE(context.has_value());

  KeyRequest request;
  std::deque<KeyWait> waits(KEY_SLOTS + KeyChannel::WAITING_MAX);
  for (KeyWait& wait : waits) {
    wait.bind(channel, 0);
    ASSERT_TRUE(wait.begin(request));
  }
  HandClock clock;
  SimTransport sim(OPTIONS, 1, SimFaults{});
  TlsTransport tls(sim, **context, &channel, clock, OPTIONS);
  tls.set_layers(1, {.tls = true});
  EXPECT_TRUE(tls.add_listener(-1, 1));
  TlsClient client({.server_name = "example.org"});
  const uint32_t number = sim.client_connect(1, {.family = AF_INET, .port = 4711, .ip = {10, 0, 0, 1}});
  std::vector<Reason> notes;
  for (int i = 0; i < 3'000 && (notes.empty() || tls.connection_count() > 0); ++i) {
    client.step();
    if (const std::string said = client.take_output(); !said.empty()) sim.client_send(number, said);
    std::vector<TransportEvent> events(8);
    events.resize(tls.poll(clock.now(), clock.now(), events));
    for (const TransportEvent& event : events) {
      ASSERT_EQ(event.kind, TransportEventKind::NOTED);
      notes.push_back(static_cast<Reason>(event.error));
    }
    client.feed(sim.client_take(number, 20'000));
    clock.advance(milliseconds(1));
  }
  EXPECT_EQ(notes, std::vector<Reason>{Reason::TLS_KEY_BUSY});
  EXPECT_EQ(channel.overloaded(), 1U);
  EXPECT_EQ(tls.connection_count(), 0U);
  for (KeyWait& wait : waits) wait.cancel();
}

}  // namespace
}  // namespace penstock::test
