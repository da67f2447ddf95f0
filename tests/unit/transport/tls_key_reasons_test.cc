// A handshake that fails for the server's own fault leaves one record that says so, and not that the client did it.
#include "src/tls/key_desk.h"
#include "src/tls/remote_key_source.h"
#include "src/tls/tls_transport.h"
#include "tests/support/hand_clock.h"
#include "tests/support/sim_transport.h"
#include "tests/support/tls_world.h"

#include <deque>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <optional>
#include <sys/socket.h>
#include <vector>

namespace penstock::test {
namespace {

constexpr TransportOptions REASON_OPTIONS{.connections_max = 8, .receive_buffers = 16, .receive_buffer_bytes = 2'048};

UniqueFd duplicate_fd(const UniqueFd& fd) { return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3)); }

// A server's end of a key channel, and handshakes over it until one is refused.
class TlsKeyReasons : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = create_key_channel();
    ASSERT_TRUE(made.has_value());
    ends_ = std::move(*made);
    ASSERT_TRUE(channel_.open(duplicate_fd(ends_.memory), std::move(ends_.bed)).has_value());
    auto keys = RemoteKeys::load(nullptr);
    ASSERT_TRUE(keys.has_value());
    keys_.emplace(std::move(*keys));
    source_.emplace(*keys_, channel_);
    store_.emplace(*source_);
  }

  // What a client is told of, and what the record says, where `desk` (if any) answers with `signer`.
  std::vector<Reason> refused(const std::vector<TestSite>& sites, KeyDesk* desk = nullptr,
                              KeySigner* signer = nullptr) {
    if (!sites.empty()) store_->replace(make_test_table(sites, unused_));
    auto context = TlsContext::make(*store_, tickets_, live_, {"http/1.1"});
    EXPECT_TRUE(context.has_value());
    SimTransport sim(REASON_OPTIONS, 1, SimFaults{});
    TlsTransport tls(sim, **context, &channel_, clock_, REASON_OPTIONS);
    tls.set_layers(1, {.tls = true});
    EXPECT_TRUE(tls.add_listener(-1, 1));
    TlsClient client({.server_name = "example.org"});
    const uint32_t number = sim.client_connect(1, {.family = AF_INET, .port = 4711, .ip = {10, 0, 0, 1}});
    std::vector<Reason> notes;
    for (int i = 0; i < 3'000 && (notes.empty() || tls.connection_count() > 0); ++i) {
      client.step();
      if (const std::string said = client.take_output(); !said.empty()) sim.client_send(number, said);
      if (desk != nullptr && desk->serve(*signer) == KeyDesk::Turn::WORKED) sim.wake(TlsTransport::KEY_WAKE);
      std::vector<TransportEvent> events(8);
      events.resize(tls.poll(clock_.now(), clock_.now(), events));
      for (const TransportEvent& event : events) {
        EXPECT_EQ(event.kind, TransportEventKind::NOTED);
        notes.push_back(static_cast<Reason>(event.error));
      }
      client.feed(sim.client_take(number, 20'000));
      clock_.advance(milliseconds(1));
    }
    EXPECT_FALSE(client.done());
    EXPECT_EQ(tls.connection_count(), 0U);
    return notes;
  }

  KeyChannelEnds ends_;  // `bed` is the channel's
  KeyChannel channel_;
  std::optional<RemoteKeys> keys_;
  std::optional<RemoteKeySource> source_;
  std::optional<CertificateStore> store_;
  TestKeys unused_;
  TicketKeys tickets_;
  TlsLive live_;
  HandClock clock_;
};

TEST_F(TlsKeyReasons, one_beyond_those_that_may_wait_for_keys_is_our_overload) {
  KeyRequest request;
  std::deque<KeyWait> waits(KEY_SLOTS + KeyChannel::WAITING_MAX);  // nobody signs at the other end
  for (KeyWait& wait : waits) {
    wait.bind(channel_, 0);
    ASSERT_TRUE(wait.begin(request));
  }
  EXPECT_EQ(refused({{"site", {"*"}, {make_test_pair("example.org")}}}), std::vector<Reason>{Reason::TLS_KEY_BUSY});
  EXPECT_EQ(channel_.overloaded(), 1U);
  for (KeyWait& wait : waits) wait.cancel();
}

TEST_F(TlsKeyReasons, a_signature_that_the_key_process_refuses_is_a_key_that_failed) {
  class Refuses final : public KeySigner {
   public:
    std::expected<size_t, Refusal> answer(const KeyRequest&, std::span<unsigned char>) override {
      return std::unexpected(Refusal{.status = KeyStatus::UNREADABLE, .detail = "Permission denied"});
    }
  } signer;
  auto desk = KeyDesk::open(duplicate_fd(ends_.memory), std::move(ends_.bell));
  ASSERT_TRUE(desk.has_value());
  EXPECT_EQ(refused({{"site", {"*"}, {make_test_pair("example.org")}}}, &*desk, &signer),
            std::vector<Reason>{Reason::TLS_KEY_FAILED});
  EXPECT_EQ(desk->answers(), 1U);
}

TEST_F(TlsKeyReasons, no_certificate_at_all_and_one_that_cannot_be_used_are_told_alike) {
  EXPECT_EQ(refused({}), std::vector<Reason>{Reason::TLS_NO_CERTIFICATE}) << "no table is in force";
  const TestPair broken{.certificate = "no certificate", .key = "no key"};
  EXPECT_EQ(refused({{"site", {"*"}, {broken}}}), std::vector<Reason>{Reason::TLS_NO_CERTIFICATE});
  EXPECT_EQ(refused({{"site", {"*"}, {}}}), std::vector<Reason>{Reason::TLS_NO_CERTIFICATE}) << "a site without pairs";
  ClientRulesSource rules;
  rules.id = 7;
  rules.authorities.push_back({.path = "ca.pem", .bytes = "no authority"});
  EXPECT_EQ(refused({{"site", {"*"}, {make_test_pair("example.org")}, rules}}),
            std::vector<Reason>{Reason::TLS_NO_CERTIFICATE})
      << "nobody is let in where clients cannot be judged";
}

}  // namespace
}  // namespace penstock::test
