#include "tests/unit/transport/engine_world.h"

#include "src/base/assert.h"
#include "src/base/unique_fd.h"
#include "src/transport/engine/engine_transport.h"
#include "src/transport/socket_address.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <list>
#include <map>

namespace penstock::test {
namespace {

constexpr uint8_t CLIENTS = 1;
constexpr uint8_t SERVER = 2;
constexpr size_t CLIENT_BYTES = 65'536;  // that a client has under way
constexpr uint32_t HOLDS = 4'096;
constexpr uint32_t CHUNKS = 64;

NetConfig config_of(uint8_t end) {
  NetConfig config;
  config.addresses.mac = {{2, 0, 0, 0, 0, end}};
  config.addresses.v4 = IpAddress::v4(10, 0, 0, end);
  config.addresses.v6.bytes = {0xfd, 1};
  config.addresses.v6.bytes[15] = end;
  config.limits.connections_max = 2'048;
  config.limits.receive_holds_max = HOLDS;
  config.limits.receive_window_bytes = CLIENT_BYTES;
  config.times.time_wait = seconds(1);
  config.times.orphan_max = seconds(3);  // whoever does not read what is sent before a close
  // Who has nothing to say learns of a reset that was lost from this alone.
  config.times.keepalive_idle = seconds(2);
  config.times.keepalive_interval = seconds(1);
  config.times.keepalive_probes = 4;
  config.secret = {uint64_t{0x1234567890abcdef} + end, 0xfedcba0987654321};
  return config;
}

// A connection of the clients' engine. It outlives its Peer by as long as the engine needs its memory.
struct EngineClient {
  Handle conn;
  PeerAddress address;
  std::deque<std::string> sends;  // until they are acknowledged
  std::deque<NetEvent> received;
  size_t taken = 0;  // bytes of the first of these
  bool fin = false;
  bool failed = false;
  bool ended = false;  // by us
};

class Clients {
 public:
  explicit Clients(PacketDevice& device, MonoTime now) : stack_(config_of(CLIENTS), device, now) {}
  [[nodiscard]] NetStack& stack() { return stack_; }
  EngineClient* connect(const IpAddress& to, uint16_t port) {
    const Handle conn = stack_.connect(to, port);
    if (!conn.valid()) return nullptr;
    EngineClient& client = *clients_.emplace_back(std::make_unique<EngineClient>());
    client.conn = conn;
    const TcpTuple& tuple = stack_.tuple(conn);
    const bool v4 = tuple.local.is_v4();
    client.address.family = static_cast<uint8_t>(v4 ? AF_INET : AF_INET6);
    client.address.port = tuple.local_port;
    std::copy_n(tuple.local.bytes.begin() + (v4 ? 12 : 0), v4 ? 4 : 16, client.address.ip);
    stack_.set_context(conn, &client);
    return &client;
  }
  void turn(MonoTime now) {
    NetEvent events[64];
    while (const size_t count = stack_.poll(now, events)) {
      for (size_t i = 0; i < count; ++i) handle(events[i]);
    }
  }
  void end(EngineClient& client, bool with_reset) {
    if (client.ended) return;
    client.ended = true;
    for (const NetEvent& event : client.received) stack_.release(event.buffer);
    client.received.clear();
    const bool lent = with_reset && !client.failed ? stack_.reset(client.conn) : stack_.close(client.conn);
    if (!lent) client.sends.clear();
  }
  // Its Peer is gone.
  void forget(EngineClient& client) {
    end(client, false);
    if (client.sends.empty()) drop(client);
  }

 private:
  void handle(const NetEvent& event) {
    EngineClient& client = *static_cast<EngineClient*>(event.context);
    if (event.kind == NetEventKind::RECEIVED) client.received.push_back(event);
    if (event.kind == NetEventKind::SENT) client.sends.pop_front();
    if (event.kind == NetEventKind::PEER_CLOSED) client.fin = true;
    if (event.kind == NetEventKind::FAILED) client.failed = true, client.sends.clear();
    if (event.kind == NetEventKind::CLOSED) drop(client);
  }
  void drop(EngineClient& client) {
    const auto place = std::ranges::find_if(clients_, [&](const auto& one) { return one.get() == &client; });
    if (place != clients_.end()) gone_.splice(gone_.end(), clients_, place);
  }

  NetStack stack_;
  std::list<std::unique_ptr<EngineClient>> clients_;
  std::list<std::unique_ptr<EngineClient>> gone_;  // a Peer may still look at them
};

class EnginePeer final : public Peer {
 public:
  // `counted`: each frame comes once.
  EnginePeer(Clients& clients, EngineClient& client, bool counted)
      : clients_(clients), client_(client), counted_(counted), before_(frames()) {}
  ~EnginePeer() override { clients_.forget(client_); }

  size_t write(std::string_view bytes) override {
    if (client_.failed || client_.ended) return 0;
    const uint64_t under_way = clients_.stack().unacknowledged_bytes(client_.conn);
    bytes = bytes.substr(0, under_way < CLIENT_BYTES ? CLIENT_BYTES - under_way : 0);
    if (bytes.empty()) return 0;
    const std::string& kept = client_.sends.emplace_back(bytes);
    const NetPart part{.data = kept.data(), .size = static_cast<uint32_t>(kept.size())};
    if (clients_.stack().send(client_.conn, {&part, 1}, 0)) return bytes.size();
    client_.sends.pop_back();
    return 0;
  }
  std::string read(size_t bytes_max) override {
    std::string bytes;
    while (bytes.size() < bytes_max && !client_.received.empty()) {
      const NetEvent& event = client_.received.front();
      const size_t size = std::min<size_t>(bytes_max - bytes.size(), event.size - client_.taken);
      bytes.append(reinterpret_cast<const char*>(event.data) + client_.taken, size);
      client_.taken += size;
      if (client_.taken != event.size) break;
      clients_.stack().release(event.buffer);
      client_.received.pop_front();
      client_.taken = 0;
    }
    if (bytes.empty() && client_.fin && end_ == End::OPEN) {
      end_ = End::FIN;
      packets_ = static_cast<uint32_t>(frames() - before_);
    }
    if (bytes.empty() && client_.failed) end_ = End::RESET;
    return bytes;
  }
  End end() override { return end_; }
  void half_close() override {
    if (!client_.failed && !client_.ended) clients_.stack().shutdown_send(client_.conn);
  }
  void reset() override {
    clients_.end(client_, true);
    end_ = End::RESET;
  }
  uint32_t packets() override { return counted_ ? packets_ : 0; }
  PeerAddress address() override { return client_.address; }

 private:
  [[nodiscard]] uint64_t frames() { return clients_.stack().counters().frames_received; }

  Clients& clients_;
  EngineClient& client_;
  const bool counted_;
  const uint64_t before_;  // of all connections
  uint32_t packets_ = 0;   // from then until its end was seen
  End end_ = End::OPEN;
};

class Wired final : public EngineWorld {
 public:
  Wired(const TransportOptions& options, uint64_t seed, const LinkOptions& link)
      : link_(seed, link),
        faulty_(link.faults.lose_one_in + link.faults.duplicate_one_in + link.faults.corrupt_one_in != 0) {
    link_.set_now(START);
    clients_ = std::make_unique<Clients>(link_.end(0), START);
    EngineOptions engine{.transport = options, .net = config_of(SERVER), .spin = {}, .file_chunks = CHUNKS};
    // What the others take buffers for are frames here; who asks for few of them means it.
    if (options.receive_buffers < 64) engine.net.limits.receive_holds_max = options.receive_buffers;
    Result<std::unique_ptr<EngineTransport>> opened = EngineTransport::open(link_.end(1), engine, START);
    ASSERT(opened.has_value());
    transport_ = std::move(*opened);
  }

  Transport& transport() override { return *transport_; }
  EngineTransport& engine() override { return *transport_; }
  SimLink& link() override { return link_; }

  bool listen(Family family, uint32_t id) override {
    sockaddr_storage address{};
    socklen_t size = sizeof(sa_family_t);  // of a unix socket: the kernel chooses the name
    address.ss_family = static_cast<sa_family_t>(family == Family::IPV4   ? AF_INET
                                                 : family == Family::IPV6 ? AF_INET6
                                                                          : AF_UNIX);
    if (family == Family::IPV4) size = sizeof(sockaddr_in);
    if (family == Family::IPV6) size = sizeof(sockaddr_in6);
    UniqueFd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return false;
    if (!transport_->add_listener(fd.get(), id)) return false;
    listeners_[id] = {family, own_address(fd.get()).port};
    fds_[id] = std::move(fd);
    return true;
  }
  void unlisten(uint32_t id) override {
    transport_->remove_listener(id);
    listeners_.erase(id);
    fds_.erase(id);
  }
  std::unique_ptr<Peer> connect(uint32_t id, bool) override {
    const auto listener = listeners_.find(id);
    if (listener == listeners_.end()) return nullptr;
    const NetAddresses there = config_of(SERVER).addresses;
    EngineClient* client =
        clients_->connect(listener->second.first == Family::IPV4 ? there.v4 : there.v6, listener->second.second);
    return client == nullptr ? nullptr : std::make_unique<EnginePeer>(*clients_, *client, !faulty_);
  }
  void add_wake(uint32_t id) override {
    wakes_[id] = make_wake_fd();
    ASSERT(transport_->add_wake_source(wakes_[id].get(), id).has_value());
  }
  void wake(uint32_t id) override { write_wake_fd(wakes_.find(id)->second); }
  bool waits_for_machine() override { return !wakes_.empty() || transport_->reads_under_way() != 0; }

  void drive(MonoTime now) override {
    now_ = now;
    link_.set_now(now);
    clients_->turn(now);
  }
  MonoTime next_happening() override {
    return std::min({link_.next_event(), clients_->stack().next_deadline(), transport_->stack().next_deadline()});
  }

  std::vector<std::string> violations() override {
    link_.stop_faults();
    for (int i = 0; i < 2'000 && !at_rest(); ++i) {
      drive(std::max(now_ + microseconds(5), std::min(next_happening(), now_ + milliseconds(100))));
      TransportEvent events[8];
      const size_t count = transport_->poll(now_, now_, events);
      for (size_t k = 0; k < count; ++k) {
        if (events[k].kind == TransportEventKind::ACCEPTED) transport_->reset(events[k].conn);
      }
    }
    std::vector<std::string> found;
    if (clients_->stack().lent() != NetStack::Lent{}) found.push_back("the clients' engine is not at rest");
    if (transport_->stack().lent() != NetStack::Lent{}) found.push_back("the server's engine is not at rest");
    if (transport_->chunks_lent() != 0) found.push_back("chunks of files are left");
    if (link_.lent() != 0) found.push_back("frames are left");
    if (link_.memory_changed != 0) found.push_back("memory changed while the device read it");
    return found;
  }

 private:
  static constexpr MonoTime START{1'000'000'000};

  bool at_rest() {
    return clients_->stack().lent() == NetStack::Lent{} && transport_->stack().lent() == NetStack::Lent{} &&
           link_.lent() == 0;
  }

  MonoTime now_ = START;
  SimLink link_;
  const bool faulty_;
  std::unique_ptr<Clients> clients_;
  std::map<uint32_t, std::pair<Family, uint16_t>> listeners_;
  std::map<uint32_t, UniqueFd> fds_;
  std::map<uint32_t, UniqueFd> wakes_;
  std::unique_ptr<EngineTransport> transport_;
};

}  // namespace

std::unique_ptr<EngineWorld> make_engine_world(const TransportOptions& options, uint64_t seed,
                                               const LinkOptions& link) {
  return std::make_unique<Wired>(options, seed, link);
}

}  // namespace penstock::test
