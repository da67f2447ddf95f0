// A client of TLS whose bytes are damaged, cut and delayed at will, and any deeds of the layer above: the contract of
// Transport holds on both sides, and nothing is left.
//
// The client is a real one, and all randomness is fixed, so that one input is one conversation: most inputs get through
// the handshake, and what the fuzzer finds can be replayed. The input is a list of deeds. Two sites, one of which asks
// for certificates; versions, resumption and the client's own certificate are drawn by the first byte.
#include "src/base/assert.h"
#include "src/tls/tls_transport.h"
#include "tests/support/fixed_random.h"
#include "tests/support/fuzz_deeds.h"
#include "tests/support/hand_clock.h"
#include "tests/support/sim_transport.h"
#include "tests/support/test_authority.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

using namespace penstock;
using namespace penstock::test;

namespace {

constexpr uint32_t CONNECTIONS_MAX = 4;
const TransportOptions OPTIONS{.connections_max = CONNECTIONS_MAX, .receive_buffers = 8, .receive_buffer_bytes = 512};
const std::string PLAIN(70'000, 'p');

// What lives as long as the process: it is expensive, and no conversation changes it.
struct Fixed {
  Fixed() {
    fix_openssl_random();
    set_openssl_random(7);
    authority.emplace("root");
    pair = authority->issue({.subject = "server", .purpose = "serverAuth"});
    client = authority->issue({});
    list = authority->certificate();
    ClientRulesSource rules{.id = 7, .depth = 2};
    rules.authorities.push_back({"ca.pem", list});
    store.replace(make_test_table({{"open", {"open.test"}, {pair}}, {"asks", {"asks.test"}, {pair}, rules}}, keys));
    const TicketKey key{};
    tickets.set({&key, 1});
    auto made = TlsContext::make(store, tickets, live, {"h2", "http/1.1"});
    ASSERT(made.has_value());
    context = std::move(*made);
  }
  std::optional<TestAuthority> authority;
  TestPair pair;
  TestPair client;
  std::string list;
  TestKeys keys;
  CertificateStore store{keys};
  TicketKeys tickets;
  TlsLive live;
  std::unique_ptr<TlsContext> context;
};

Fixed& fixed() {
  static Fixed made;
  return made;
}

class World {
 public:
  explicit World(uint8_t options)
      : options_(options),
        sim_(OPTIONS, options, (options & 1) != 0 ? SimFaults::from_seed(options) : SimFaults{}),
        tls_(sim_, *fixed().context, nullptr, clock_, OPTIONS) {
    tls_.set_layers(1, {.tls = true});
    ASSERT(tls_.add_listener(-1, 1).has_value());
    connect();
  }
  ~World() { SSL_SESSION_free(session_); }

  // A new connection, which resumes the last one's session if there is one.
  void connect() {
    if (client_ && client_->done()) {
      SSL_SESSION_free(session_);
      session_ = SSL_SESSION_dup(SSL_get0_session(client_->ssl()));
    }
    if (socket_ != UINT32_MAX) sim_.client_reset(socket_);
    TlsClientOptions wanted{.server_name = (options_ & 4) != 0 ? "asks.test" : "open.test",
                            .protocols = {"h2", "http/1.1"},
                            .version_max = (options_ & 2) != 0 ? TLS1_2_VERSION : TLS1_3_VERSION,
                            .session = session_,
                            .asks_ocsp = (options_ & 8) != 0};
    if ((options_ & 16) != 0) {
      wanted.certificate = fixed().client.certificate;
      wanted.key = fixed().client.key;
    }
    client_.emplace(wanted);
    said_.clear();
    socket_ = sim_.client_connect(1, {});
  }
  // What the client has to say, out of its mouth.
  std::string& said() {
    if (!client_->failed()) client_->step();
    return said_ += client_->take_output();
  }
  void send(std::string_view bytes) { sim_.client_send(socket_, bytes); }
  void write(size_t bytes) {
    if (client_->done()) client_->write(std::string_view(PLAIN).substr(0, bytes));
  }
  void end(uint8_t how) {
    if (how == 0 && client_->done()) client_->goodbye();
    if (how == 1) sim_.client_half_close(socket_);
    if (how == 2) sim_.client_reset(socket_);
    if (how == 3) connect();
  }

  void upper(uint8_t deed) {
    if (conns_.empty()) return;
    auto& [handle, conn] = pick(conns_, deed >> 4);
    if (!tls_.is_open(handle)) return;
    switch (deed & 15) {
      case 8:
        return end_above(handle, conn, false);
      case 9:
        return end_above(handle, conn, true);
      case 10:
      case 11:
        return tls_.set_receiving(handle, (deed & 1) != 0);
      case 12:
        return release(conn);
      case 13:
        keeps_ = !keeps_;
        return;
      case 14:
        (void)tls_.layer(handle);
        return tls_.drain(handle);
      case 15:
        if (!conn.sending && !conn.failed && !conn.shut) tls_.shutdown_send(handle);
        conn.shut = true;
        return;
      default: {
        if (conn.sending || conn.failed || conn.shut) return;
        conn.sending = true;
        const size_t size = size_t{1} << (2 * (deed & 7) + 2);  // up to 64 KiB
        const SendPart parts[] = {SendPart::memory(PLAIN.data(), size), SendPart::memory(PLAIN.data(), 3)};
        tls_.send(handle, std::span(parts).first((deed & 1) + 1), (deed & 4) != 0);
      }
    }
  }

  void turn(Duration by = milliseconds(20)) {
    clock_.advance(by);
    std::array<TransportEvent, 16> events;
    const size_t count = tls_.poll(clock_.now(), clock_.now(), events);
    for (size_t i = 0; i < count; ++i) take(events[i]);
    client_->feed(sim_.client_take(socket_, 30'000));
    if (client_->done()) (void)client_->read(40'000);
  }

  void finish() {
    sim_.stop_faults();
    keeps_ = false;
    for (int round = 0; round < 3; ++round) {
      for (auto& [handle, conn] : conns_) {
        release(conn);
        if (tls_.is_open(handle)) end_above(handle, conn, false);
      }
      for (int i = 0; i < 20; ++i) turn();
      turn(seconds(20));  // handshakes that nobody goes on with
    }
    ASSERT(sim_.connection_count() == 0 && tls_.connection_count() == 0);
    ASSERT(tls_.handshakes() == 0 && tls_.blocks_taken() == 0 && tls_.buffers_lent() == 0);
    ASSERT(sim_.buffers_lent() == 0);
    sim_.at_end();
    ASSERT(sim_.violations().empty());
  }

 private:
  struct Conn {
    bool sending = false;
    bool failed = false;
    bool shut = false;
    bool peer_closed = false;
    std::vector<uint32_t> kept;
  };

  void release(Conn& conn) {
    for (const uint32_t buffer : conn.kept) tls_.release(buffer);
    conn.kept.clear();
  }
  void end_above(Handle handle, Conn& conn, bool reset) {
    release(conn);
    ASSERT(!(reset ? tls_.reset(handle) : tls_.close(handle)));  // nothing of the layer above is ever lent on
  }

  void take(const TransportEvent& event) {
    if (event.kind == TransportEventKind::NOTED) return;
    ASSERT(event.kind != TransportEventKind::CLOSED);
    if (event.kind == TransportEventKind::ACCEPTED) {
      ASSERT(tls_.is_open(event.conn) && !conns_.contains(event.conn));
      const LayerFacts facts = tls_.layer(event.conn);
      ASSERT(facts.secure && (facts.client_rules == 7) == (facts.server_name == "asks.test"));
      ASSERT(facts.client_fingerprint.empty() || facts.client_rules == 7);
      conns_[event.conn] = {};
      tls_.set_context(event.conn, this);
      return;
    }
    if (!tls_.is_open(event.conn)) {
      if (event.kind == TransportEventKind::RECEIVED) tls_.release(event.buffer);
      return;
    }
    Conn& conn = conns_.at(event.conn);
    ASSERT(event.context == this && !conn.failed);
    if (event.kind == TransportEventKind::RECEIVED) {
      // The client's own words or nothing: a damaged record is never delivered.
      ASSERT(event.size > 0 && !conn.peer_closed &&
             std::string_view(event.data, event.size).find_first_not_of('p') == std::string_view::npos);
      if (!keeps_) return tls_.release(event.buffer);
      return conn.kept.push_back(event.buffer);
    }
    if (event.kind == TransportEventKind::PEER_CLOSED) {
      ASSERT(!conn.peer_closed);
      conn.peer_closed = true;
      return;
    }
    ASSERT(event.kind == TransportEventKind::FAILED || conn.sending);
    conn.failed = event.kind == TransportEventKind::FAILED;
    conn.sending = false;
  }

  uint8_t options_;
  HandClock clock_{MonoTime{1'000'000'000}, WallTime{TEST_NOW_S * 1'000'000'000}};
  SimTransport sim_;
  TlsTransport tls_;
  std::optional<TlsClient> client_;
  SSL_SESSION* session_ = nullptr;
  std::string said_;
  uint32_t socket_ = UINT32_MAX;
  std::map<Handle, Conn> conns_;
  bool keeps_ = false;
};

// The deeds of the client's mouth: all, a part, or with a byte changed.
void speak(World& world, uint8_t how, uint8_t at, uint8_t change) {
  std::string& said = world.said();
  if (said.empty()) return;
  size_t size = said.size();
  if (how == 1) size = std::min<size_t>(size, at + 1);
  if (how == 2) said[(size_t{at} * 7) % size] ^= static_cast<char>(change);
  world.send(std::string_view(said).substr(0, size));
  said.erase(0, size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  (void)fixed();
  set_openssl_random(42);
  World world(data[0]);
  FuzzDeeds list(data + 1, size - 1);
  for (int deeds = 0; !list.empty() && deeds < 200; ++deeds) {
    const uint8_t deed = list.byte();
    switch (deed >> 5) {
      case 0:
        speak(world, 0, 0, 0);
        break;
      case 1:
        speak(world, 1, list.byte(), 0);
        break;
      case 2: {
        const uint8_t at = list.byte();
        speak(world, 2, at, list.byte());
        break;
      }
      case 3:
        world.send(list.text(deed & 31));
        break;
      case 4:
        world.write(size_t{deed & 31U} * 2'000 + 1);
        break;
      case 5:
        world.upper(list.byte());
        break;
      case 6:
        world.end(deed & 3);
        break;
      default:
        world.turn(deed == 0xff ? seconds(11) : milliseconds(20));
    }
  }
  world.finish();
  return 0;
}
