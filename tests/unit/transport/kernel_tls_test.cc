// kTLS on the seam: TlsTransport over a kernel that takes its keys (a fake that truly seals) or refuses them, and a
// client of OpenSSL's at the other end, which reads nothing that is not whole and in order.
#include "src/tls/tls_transport.h"
#include "tests/support/fake_kernel_tls.h"
#include "tests/support/hand_clock.h"
#include "tests/support/sim_transport.h"
#include "tests/support/tls_world.h"
#include "tests/unit/transport/world.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace penstock::test {
namespace {

constexpr TransportOptions KERNEL_OPTIONS{.connections_max = 8, .receive_buffers = 16, .receive_buffer_bytes = 2'048};
constexpr uint8_t ALERT_TYPE = 21;
constexpr uint8_t HANDSHAKE = 22;

struct Suite {
  int version;
  const char* name;
};
constexpr Suite SUITES[] = {
    {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},
    {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},  {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"}, {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"}};

// One connection: a client, the simulator's socket, the kernel, TLS, and the test as the layer above.
class Scene {
 public:
  explicit Scene(const Suite& suite = SUITES[0], const FakeKernelOptions& options = {}, uint64_t seed = 1,
                 const SimFaults& faults = {})
      : sim(KERNEL_OPTIONS, seed, faults),
        kernel(sim, options),
        tls(kernel, *parts.context, nullptr, clock, KERNEL_OPTIONS) {
    const TicketKey key{};
    parts.tickets.set({&key, 1});
    tls.set_layers(1, {.tls = true});
    EXPECT_TRUE(tls.add_listener(-1, 1));
    connect(suite);
  }
  ~Scene() {
    if (tls.is_open(conn)) (void)tls.close(conn);
    for (int i = 0; i < 3'000 && tls.connection_count() > 0; ++i) {
      turn();
      clock.advance(milliseconds(1));
    }
    EXPECT_EQ(tls.connection_count(), 0U);
    EXPECT_EQ(tls.blocks_taken(), 0U);
    sim.at_end();
    EXPECT_EQ(sim.violations(), std::vector<std::string>{});
    EXPECT_EQ(kernel.violations(), std::vector<std::string>{});
  }
  void connect(const Suite& suite = SUITES[0]) {
    const bool old = suite.version == TLS1_2_VERSION;
    client = std::make_unique<TlsClient>(TlsClientOptions{.server_name = "example.org",
                                                          .protocols = {},
                                                          .version_max = suite.version,
                                                          .ciphers = old ? suite.name : "",
                                                          .signatures = "",
                                                          .certificate = "",
                                                          .key = ""});
    if (!old) (void)SSL_set_ciphersuites(client->ssl(), suite.name);  // told below
    number_ = sim.client_connect(1, {.family = AF_INET, .port = 4711, .ip = {10, 0, 0, 1}});
    conn = {};
    EXPECT_TRUE(until([&] { return client->done() && conn.valid() && tls.is_open(conn); }));
    EXPECT_STREQ(SSL_get_cipher_name(client->ssl()), suite.name);
  }

  void turn() {
    client->step();
    if (client->done() && reads) {
      for (std::string more; !(more = client->read(65'536)).empty();) got += more;
    }
    const std::string said = client->take_output();
    if (!said.empty()) sim.client_send(number_, said);
    std::vector<TransportEvent> events(8);
    events.resize(tls.poll(clock.now(), clock.now(), events));
    for (const TransportEvent& event : events) take(event);
    if (reads || !client->done()) client->feed(sim.client_take(number_, 20'000));
    clock.advance(microseconds(100));
  }
  template <typename Done>
  bool until(const Done& done) {
    for (int i = 0; i < 20'000; ++i) {
      if (done()) return true;
      turn();
    }
    return done();
  }
  void send(const std::vector<SendPart>& those) {
    expected_sent_ = sent + 1;
    tls.send(conn, those, false);
  }
  bool carried() {
    return until([&] { return sent == expected_sent_; });
  }
  // Whether the client reads just that.
  bool read(const std::string& text) {
    const bool all = until([&] { return got.size() >= text.size() || client->failed(); });
    const bool same = all && got == text;
    got.clear();
    return same;
  }
  bool answers(const std::string& text) {
    send({SendPart::memory(text.data(), text.size())});
    return carried() && read(text);
  }
  void ask_for_key() {
    EXPECT_EQ(SSL_key_update(client->ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    say("and a new key, please");
  }
  void say(const std::string& text) {
    client->write(text);
    const size_t before = received.size();
    EXPECT_TRUE(until([&] { return received.size() == before + text.size(); }));
  }
  bool end_of_client(SimTransport::ClientState state) {
    return until([&] { return sim.client_state(number_) == state; });
  }
  [[nodiscard]] uint32_t number() const { return number_; }

  HandClock clock;
  TlsParts parts;
  SimTransport sim;
  FakeKernelTls kernel;
  TlsTransport tls;
  std::unique_ptr<TlsClient> client;
  Handle conn;
  bool reads = true;  // the client
  std::string got;
  std::string received;
  std::vector<Reason> notes;
  int sent = 0;
  int failed = 0;
  int closed = 0;
  int error = 0;
  int peer_closed = 0;

 private:
  void take(const TransportEvent& event) {
    if (event.kind == TransportEventKind::NOTED) return notes.push_back(static_cast<Reason>(event.error));
    if (event.kind == TransportEventKind::ACCEPTED) {
      conn = event.conn;
      return tls.set_context(conn, this);
    }
    EXPECT_EQ(event.context, this);
    switch (event.kind) {
      case TransportEventKind::RECEIVED:
        received.append(event.data, event.size);
        return tls.release(event.buffer);
      case TransportEventKind::PEER_CLOSED:
        ++peer_closed;
        return;
      case TransportEventKind::SENT:
        ++sent;
        return;
      case TransportEventKind::FAILED:
        ++failed;
        error = event.error;
        return;
      case TransportEventKind::CLOSED:
        ++closed;
        return;
      default:
        ADD_FAILURE() << static_cast<int>(event.kind);
    }
  }

  uint32_t number_ = 0;
  int expected_sent_ = 0;
};

TEST(KernelTlsSeam, every_version_and_cipher_with_memory_and_files) {
  const std::string head = "HTTP/1.1 200 OK\r\n\r\n";
  const std::string body = pattern(150'000, 1);
  const UniqueFd file(memory_file(body));
  for (const Suite& suite : SUITES) {
    SCOPED_TRACE(suite.name);
    Scene scene(suite);
    for (int i = 0; i < 2; ++i) {
      scene.send({SendPart::memory(head.data(), head.size()), SendPart::file(file.get(), 13, 100'000),
                  SendPart::memory(body.data(), body.size()), SendPart::file(file.get(), 0, 1, true)});
      EXPECT_TRUE(scene.carried());
      EXPECT_TRUE(scene.read(head + body.substr(13, 100'000) + body + body.substr(0, 1)));
    }
    EXPECT_EQ(scene.kernel.offers, 1U);
    EXPECT_EQ(scene.tls.counters().kernel_tls, 1U);
    EXPECT_EQ(scene.tls.counters().kernel_tls_refused, 0U);
    EXPECT_EQ(scene.kernel.bytes_from_files, 2 * 100'001U) << "files go down as files";
    EXPECT_EQ(scene.kernel.bytes_from_memory, 2 * (head.size() + body.size()));
    EXPECT_EQ(scene.tls.counters().bytes_encrypted, 0U);
    EXPECT_EQ(scene.tls.counters().bytes_gathered, 0U);
    EXPECT_EQ(SSL_SESSION_is_resumable(SSL_get0_session(scene.client->ssl())), 1) << "with its ticket";
  }
}

TEST(KernelTlsSeam, close_notify_is_a_record_of_its_type_and_fin_follows) {
  for (const Suite& suite : {SUITES[0], SUITES[3]}) {
    Scene scene(suite);
    EXPECT_TRUE(scene.answers("last"));
    EXPECT_FALSE(scene.tls.close(scene.conn));
    EXPECT_TRUE(scene.end_of_client(SimTransport::ClientState::FINISHED));
    scene.turn();
    EXPECT_TRUE(scene.client->closed());
    EXPECT_EQ(scene.kernel.types, std::vector<uint8_t>{ALERT_TYPE});
    EXPECT_EQ(scene.closed, 0);
  }
}

TEST(KernelTlsSeam, shutdown_send_says_goodbye_and_receiving_goes_on) {
  Scene scene;
  EXPECT_TRUE(scene.answers("last"));
  scene.tls.shutdown_send(scene.conn);
  EXPECT_TRUE(scene.until([&] { return scene.client->closed(); }));
  scene.say("still here");
}

TEST(KernelTlsSeam, rfc_8446_section_4_6_3_the_next_key_follows_the_key_update) {
  for (const Suite& suite : {SUITES[0], SUITES[1], SUITES[2]}) {
    Scene scene(suite);
    EXPECT_TRUE(scene.answers(pattern(3'000, 1)));
    for (uint32_t i = 1; i <= 3; ++i) {
      scene.ask_for_key();
      EXPECT_TRUE(scene.answers(pattern(40'000, i))) << suite.name << ' ' << i;
      EXPECT_EQ(scene.kernel.next_keys, i);
    }
    EXPECT_EQ(scene.kernel.types, std::vector<uint8_t>(3, HANDSHAKE));
  }
}

TEST(KernelTlsSeam, a_key_update_before_the_first_answer) {
  Scene scene;
  scene.ask_for_key();
  EXPECT_TRUE(scene.answers(pattern(3'000, 1)));
  EXPECT_EQ(scene.kernel.offers, 1U);
  EXPECT_EQ(scene.kernel.next_keys, 1U);
}

TEST(KernelTlsSeam, a_kernel_that_keeps_to_its_first_key_ends_the_connection_with_its_reason) {
  Scene scene(SUITES[0], {.changes_keys = false});
  EXPECT_TRUE(scene.answers("one"));
  scene.ask_for_key();
  const std::string text = pattern(3'000, 1);
  scene.send({SendPart::memory(text.data(), text.size())});
  EXPECT_TRUE(scene.until([&] { return scene.failed == 1; }));
  EXPECT_EQ(scene.notes, std::vector<Reason>{Reason::TLS_KEY_UPDATE});
  EXPECT_EQ(scene.sent, 1);
  EXPECT_EQ(scene.got, "") << "nothing under a key that is over";
}

TEST(KernelTlsSeam, a_refused_key_costs_nothing_and_is_told) {
  const std::string body = pattern(100'000, 1);
  const UniqueFd file(memory_file(body));
  for (const Suite& suite : SUITES) {
    for (const int error : {ENOENT, EOPNOTSUPP, EBUSY, EINVAL}) {
      Scene scene(suite, {.refusal = error});
      for (int i = 0; i < 2; ++i) {
        scene.send({SendPart::memory(body.data(), 3'000), SendPart::file(file.get(), 3'000, 97'000)});
        EXPECT_TRUE(scene.carried());
        EXPECT_TRUE(scene.read(body)) << suite.name << ' ' << error;
      }
      EXPECT_EQ(scene.kernel.offers, 1U) << "asked once";
      EXPECT_EQ(scene.tls.counters().kernel_tls, 0U);
      EXPECT_EQ(scene.tls.counters().kernel_tls_refused, 1U);
      EXPECT_EQ(scene.parts.context->kernel_refusal(), error);
    }
  }
}

TEST(KernelTlsSeam, a_transport_that_takes_no_keys_is_not_asked_again) {
  Scene scene(SUITES[0], {.refusal = ENOSYS});
  EXPECT_TRUE(scene.answers("software"));
  EXPECT_FALSE(scene.tls.close(scene.conn));
  scene.connect();
  EXPECT_TRUE(scene.answers("software"));
  EXPECT_EQ(scene.kernel.offers, 1U);
  EXPECT_EQ(scene.tls.counters().kernel_tls_refused, 0U);
  EXPECT_EQ(scene.parts.context->kernel_refusal(), 0);
}

TEST(KernelTlsSeam, a_key_of_which_nobody_can_tell_ends_the_connection) {
  Scene scene(SUITES[0], {.refusal = EIO});
  const std::string text = "lost";
  scene.send({SendPart::memory(text.data(), text.size())});
  EXPECT_TRUE(scene.until([&] { return scene.failed == 1; }));
  EXPECT_EQ(scene.error, EIO);
  EXPECT_EQ(scene.got, "");
}

TEST(KernelTlsSeam, the_switch_acts_on_connections_that_were_not_offered_yet) {
  Scene scene;
  scene.parts.live.kernel = false;
  EXPECT_TRUE(scene.answers("by the server"));
  EXPECT_EQ(scene.kernel.offers, 0U);
  scene.parts.live.kernel = true;
  EXPECT_TRUE(scene.answers("by the kernel, with the number of the second record"));
  EXPECT_EQ(scene.tls.counters().kernel_tls, 1U);
  scene.parts.live.kernel = false;
  EXPECT_TRUE(scene.answers("by the kernel, there is no way back"));
  EXPECT_EQ(scene.tls.counters().bytes_encrypted, std::string("by the server").size());
}

// A ticket on its way, sends that the socket takes in pieces, answers at any time.
TEST(KernelTlsSeam, order_holds_whatever_the_socket_does) {
  const std::string body = pattern(60'000, 1);
  const UniqueFd file(memory_file(body));
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    SimFaults faults{.partial_receive = 2, .partial_send = 2, .late_send = 3, .late_event = 2};
    faults.socket_bytes_max = 1'000 + 500 * static_cast<uint32_t>(seed);
    Prng prng(seed);
    Scene scene(SUITES[seed % std::size(SUITES)], {.seed = seed, .refusal = prng.one_in(4) ? EBUSY : 0}, seed, faults);
    const bool new_keys = SSL_version(scene.client->ssl()) == TLS1_3_VERSION;
    for (int i = 0; i < 5; ++i) {
      const size_t size = 1 + prng.below(60'000);
      const size_t cut = prng.below(static_cast<uint32_t>(size));
      if (new_keys && prng.one_in(2)) scene.ask_for_key();
      std::vector<SendPart> parts{SendPart::file(file.get(), cut, size - cut)};
      if (cut > 0) parts.insert(parts.begin(), SendPart::memory(body.data(), cut));
      scene.send(parts);
      EXPECT_TRUE(scene.carried());
      EXPECT_TRUE(scene.read(body.substr(0, size)));
    }
    EXPECT_EQ(scene.notes, std::vector<Reason>{});
  }
}

TEST(KernelTlsSeam, parts_are_lent_beyond_close_and_given_back) {
  for (const bool with_reset : {false, true}) {
    Scene scene(SUITES[0], {.chunk_max = 20'000});
    EXPECT_TRUE(scene.answers("first"));
    scene.reads = false;
    const std::string body = pattern(600'000, 1);
    const uint64_t before = scene.tls.bytes_sent(scene.conn);
    scene.send({SendPart::memory(body.data(), body.size())});
    for (int i = 0; i < 50; ++i) scene.turn();
    EXPECT_EQ(scene.sent, 1);
    EXPECT_GT(scene.tls.bytes_sent(scene.conn), before) << "plaintext, as it goes";
    EXPECT_LT(scene.tls.bytes_sent(scene.conn), before + body.size());
    EXPECT_TRUE(with_reset ? scene.tls.reset(scene.conn) : scene.tls.close(scene.conn));
    EXPECT_FALSE(scene.tls.is_open(scene.conn));
    EXPECT_TRUE(scene.until([&] { return scene.closed == 1; }));
    EXPECT_EQ(scene.sent, 1);
    EXPECT_EQ(std::ranges::count(scene.kernel.types, ALERT_TYPE), 0) << "cut off, it is not said to be whole";
  }
}

// The client breaks its own records while ours are on their way: FAILED says that the parts are free.
TEST(KernelTlsSeam, failed_waits_until_the_parts_are_free) {
  for (const bool gives_up : {false, true}) {
    Scene scene;
    EXPECT_TRUE(scene.answers("first"));
    scene.reads = false;
    const std::string body = pattern(600'000, 1);
    scene.send({SendPart::memory(body.data(), body.size())});
    for (int i = 0; i < 50; ++i) scene.turn();
    scene.sim.client_send(scene.number(), std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
    EXPECT_TRUE(scene.until([&] { return !scene.notes.empty(); }));
    EXPECT_EQ(scene.notes, std::vector<Reason>{Reason::TLS_RECORD});
    for (int i = 0; i < 50; ++i) scene.turn();
    EXPECT_EQ(scene.failed, 0) << "the client takes nothing, and the kernel has them";
    if (gives_up) {
      EXPECT_TRUE(scene.tls.close(scene.conn));
      EXPECT_TRUE(scene.until([&] { return scene.closed == 1; }));
      continue;
    }
    scene.reads = true;
    EXPECT_TRUE(scene.until([&] { return scene.failed == 1; }));
    EXPECT_EQ(scene.error, EPROTO);
    EXPECT_FALSE(scene.tls.close(scene.conn));
    EXPECT_TRUE(scene.end_of_client(SimTransport::ClientState::FINISHED));
    EXPECT_EQ(scene.kernel.types, std::vector<uint8_t>{ALERT_TYPE}) << "what was wrong";
  }
}

TEST(KernelTlsSeam, another_handshake_of_1_2_is_refused_by_an_alert) {
  Scene scene(SUITES[3]);
  EXPECT_TRUE(scene.answers("first"));
  EXPECT_EQ(SSL_renegotiate(scene.client->ssl()), 1);
  (void)SSL_do_handshake(scene.client->ssl());
  EXPECT_TRUE(scene.until([&] { return scene.failed == 1; }));
  EXPECT_EQ(scene.notes, std::vector<Reason>{Reason::TLS_RENEGOTIATION});
  EXPECT_TRUE(std::ranges::count(scene.kernel.types, ALERT_TYPE) > 0);
}

TEST(KernelTlsSeam, a_peer_that_resets_fails_the_send) {
  Scene scene;
  EXPECT_TRUE(scene.answers("first"));
  scene.reads = false;
  const std::string body = pattern(600'000, 1);
  scene.send({SendPart::memory(body.data(), body.size())});
  for (int i = 0; i < 50; ++i) scene.turn();
  scene.sim.client_reset(scene.number());
  EXPECT_TRUE(scene.until([&] { return scene.failed == 1; }));
  EXPECT_FALSE(scene.tls.close(scene.conn));
}

TEST(KernelTlsSeam, a_file_that_was_cut_fails_the_send) {
  Scene scene;
  const UniqueFd file(memory_file("short"));
  scene.send({SendPart::file(file.get(), 0, 60)});
  EXPECT_TRUE(scene.until([&] { return scene.failed == 1; }));
  EXPECT_EQ(scene.error, ENODATA);
}

}  // namespace
}  // namespace penstock::test
