#include "tests/unit/transport/world.h"

#include "src/base/assert.h"
#include "src/base/prng.h"
#include "src/base/unique_fd.h"
#include "src/transport/epoll/epoll_transport.h"
#include "src/transport/socket_address.h"
#include "src/transport/uring/uring_transport.h"
#include "tests/support/sim_transport.h"
#include "tests/support/tcp_segments.h"
#include "tests/unit/transport/engine_world.h"
#include "tests/unit/transport/tls_peers.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/un.h>

namespace penstock::test {

namespace {

class SocketPeer final : public Peer {
 public:
  SocketPeer(int fd, bool is_unix) : fd_(fd), is_unix_(is_unix) {}

  size_t write(std::string_view bytes) override {
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? 0 : static_cast<size_t>(n);
  }

  std::string read(size_t bytes_max) override {
    constexpr size_t READ_BYTES = 262'144;
    std::string bytes(std::min(bytes_max, READ_BYTES), '\0');
    const ssize_t n = ::recv(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n == 0) end_ = End::FIN;
    if (n < 0 && errno != EAGAIN) end_ = End::RESET;
    bytes.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return bytes;
  }

  End end() override { return end_; }
  void half_close() override { ::shutdown(fd_.get(), SHUT_WR); }
  void reset() override {
    constexpr linger ABORT{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &ABORT, sizeof ABORT);
    fd_.reset();
    end_ = End::RESET;
  }
  uint32_t packets() override { return segments_in(fd_.get()); }
  PeerAddress address() override { return is_unix_ ? PeerAddress{.family = AF_UNIX} : own_address(fd_.get()); }

 private:
  UniqueFd fd_;
  bool is_unix_;
  End end_ = End::OPEN;
};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Address address_of(World::Family family) {
  Address address;
  if (family == World::Family::IPV4) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(&address.storage, &v4, sizeof v4);
    address.size = sizeof v4;
  } else if (family == World::Family::IPV6) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_loopback;
    std::memcpy(&address.storage, &v6, sizeof v6);
    address.size = sizeof v6;
  } else {
    // With the family alone the kernel chooses an abstract name.
    address.storage.ss_family = AF_UNIX;
    address.size = sizeof(sa_family_t);
  }
  return address;
}

class SocketWorld final : public World {
 public:
  explicit SocketWorld(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {}

  Transport& transport() override { return *transport_; }

  bool listen(Family family, uint32_t id) override {
    Listener listener;
    Address address = address_of(family);
    listener.fd = UniqueFd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    listener.is_unix = family == Family::UNIX;
    auto* where = reinterpret_cast<sockaddr*>(&listener.address.storage);
    if (::bind(listener.fd.get(), reinterpret_cast<sockaddr*>(&address.storage), address.size) != 0) return false;
    if (::listen(listener.fd.get(), 512) != 0) return false;
    listener.address.size = sizeof(sockaddr_storage);
    if (::getsockname(listener.fd.get(), where, &listener.address.size) != 0) return false;
    if (!transport_->add_listener(listener.fd.get(), id)) return false;
    listeners_[id] = std::move(listener);
    return true;
  }

  void unlisten(uint32_t id) override {
    transport_->remove_listener(id);
    listeners_[id].fd.reset();
  }

  std::unique_ptr<Peer> connect(uint32_t id, bool slow) override {
    const Listener& listener = listeners_[id];
    UniqueFd fd(::socket(listener.address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int small = 16'384;  // what is smaller costs time: what the server's kernel holds comes in so small pieces
    if (slow) ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    // Loopback answers at once, the backlog has room: this does not wait for a turn of ours.
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&listener.address.storage), listener.address.size) != 0) {
      return nullptr;
    }
    return std::make_unique<SocketPeer>(fd.release(), listener.is_unix);
  }

  void add_wake(uint32_t id) override {
    wakes_[id] = make_wake_fd();
    ASSERT(transport_->add_wake_source(wakes_[id].get(), id).has_value());
  }
  void wake(uint32_t id) override { write_wake_fd(wakes_.find(id)->second); }

 private:
  struct Listener {
    UniqueFd fd;
    Address address;
    bool is_unix = false;
  };
  std::map<uint32_t, UniqueFd> wakes_;
  std::map<uint32_t, Listener> listeners_;
  std::unique_ptr<Transport> transport_;
};

class SimPeer final : public Peer {
 public:
  SimPeer(SimTransport& transport, uint32_t client, const PeerAddress& address)
      : transport_(transport), client_(client), address_(address) {}
  ~SimPeer() override {
    if (end_ != End::RESET) transport_.client_half_close(client_);
  }
  size_t write(std::string_view bytes) override {
    // A socket takes only so much ahead of its reader.
    constexpr size_t SOCKET_BYTES = 65'536;
    const size_t held = transport_.client_unread(client_);
    bytes = bytes.substr(0, held < SOCKET_BYTES ? SOCKET_BYTES - held : 0);
    transport_.client_send(client_, bytes);
    return bytes.size();
  }
  std::string read(size_t bytes_max) override {
    std::string bytes = transport_.client_take(client_, bytes_max);
    if (bytes.empty()) {
      const auto state = transport_.client_state(client_);
      if (state == SimTransport::ClientState::FINISHED) end_ = End::FIN;
      if (state == SimTransport::ClientState::RESET) end_ = End::RESET;
    }
    return bytes;
  }
  End end() override { return end_; }
  void half_close() override { transport_.client_half_close(client_); }
  void reset() override {
    transport_.client_reset(client_);
    end_ = End::RESET;
  }
  PeerAddress address() override { return address_; }

 private:
  SimTransport& transport_;
  uint32_t client_;
  PeerAddress address_;
  End end_ = End::OPEN;
};

class SimWorld final : public World {
 public:
  SimWorld(const TransportOptions& options, uint64_t seed, const SimFaults& faults)
      : transport_(options, seed, faults) {}
  Transport& transport() override { return transport_; }
  bool listen(Family family, uint32_t id) override {
    families_[id] = family;
    return transport_.add_listener(-1, id).has_value();
  }
  void unlisten(uint32_t id) override {
    transport_.remove_listener(id);
    families_.erase(id);
  }
  std::unique_ptr<Peer> connect(uint32_t id, bool) override {
    if (!families_.contains(id)) return nullptr;
    PeerAddress address{.family = AF_UNIX};
    if (families_[id] == Family::IPV4) address = {.family = AF_INET, .port = ++port_, .ip = {127, 0, 0, 1}};
    if (families_[id] == Family::IPV6) address = {.family = AF_INET6, .port = ++port_, .ip = {0, 1}};
    return std::make_unique<SimPeer>(transport_, transport_.client_connect(id, address), address);
  }
  void add_wake(uint32_t id) override { ASSERT(transport_.add_wake_source(-1, id).has_value()); }
  void wake(uint32_t id) override { transport_.wake(id); }
  std::vector<std::string> violations() override {
    transport_.at_end();
    return transport_.violations();
  }

 private:
  SimTransport transport_;
  std::map<uint32_t, Family> families_;
  uint16_t port_ = 40'000;
};

}  // namespace

UniqueFd make_wake_fd() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
void write_wake_fd(const UniqueFd& fd) {
  const uint64_t one = 1;
  ASSERT(::write(fd.get(), &one, sizeof one) == sizeof one);
}

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::URING:
      return "uring";
    case Kind::URING_PLAIN:
      return "uring_plain";
    case Kind::EPOLL:
      return "epoll";
    case Kind::SIM:
      return "sim";
    case Kind::ENGINE:
      return "engine";
    case Kind::FAULTY:
      return "engine_faulty";
    case Kind::TLS_URING:
      return "tls_uring";
    case Kind::TLS_EPOLL:
      return "tls_epoll";
    case Kind::TLS_SIM:
      return "tls_sim";
    case Kind::TLS_ENGINE:
      return "tls_engine";
    case Kind::KTLS_SIM:
      return "ktls_sim";
  }
  return "";
}

std::unique_ptr<World> World::make(Kind kind, const TransportOptions& options) {
  std::unique_ptr<World> world;
  if (is_tls(kind)) {
    const Kind below = kind == Kind::TLS_URING    ? Kind::URING
                       : kind == Kind::TLS_EPOLL  ? Kind::EPOLL
                       : kind == Kind::TLS_ENGINE ? Kind::ENGINE
                                                  : Kind::SIM;
    world = make(below, options);
    return world == nullptr ? nullptr : make_tls_world(std::move(world), options, kind == Kind::KTLS_SIM);
  }
  if (kind == Kind::SIM) {
    world =
        std::make_unique<SimWorld>(options, 42, SimFaults{.partial_receive = 3, .late_receive = 5, .late_event = 3});
  } else if (is_engine(kind)) {
    LinkOptions link{.delay = microseconds(20)};
    if (kind == Kind::FAULTY)
      link.faults = {.lose_one_in = 30, .duplicate_one_in = 50, .delay_one_in = 20, .corrupt_one_in = 40};
    world = make_engine_world(options, 42, link);
  } else {
    Result<std::unique_ptr<Transport>> transport =
        kind == Kind::EPOLL ? EpollTransport::open(options)
                            : UringTransport::open(options, {.direct_descriptors = kind == Kind::URING});
    if (!transport) return nullptr;
    world = std::make_unique<SocketWorld>(std::move(*transport));
  }
  ASSERT(world->listen(Family::IPV4, 1));
  return world;
}

std::vector<TransportEvent> World::turn(Duration wait, size_t events_max) {
  std::vector<TransportEvent> events(events_max);
  for (const MonoTime until = now_ + wait;;) {
    drive(now_);
    const MonoTime next = next_happening();
    const size_t count = transport().poll(now_, waits_for_machine() ? std::min(next, until) : now_, events);
    if (next == MonoTime::never() || count != 0 || now_ >= until) {
      events.resize(count);
      return events;
    }
    now_ = std::min(until, std::max(next, now_ + microseconds(1)));
  }
}

size_t Server::turn(Duration wait) {
  const std::vector<TransportEvent> events = world_.turn(wait, events_max);
  for (const TransportEvent& event : events) handle(event);
  return events.size();
}

bool Server::until(const std::function<bool()>& done) {
  for (int i = 0; i < 20'000; ++i) {
    if (done()) return true;
    turn(milliseconds(1));
  }
  return done();
}

void Server::handle(const TransportEvent& event) {
  if (event.kind == TransportEventKind::WOKEN) {
    wakes.push_back(event.id);
    return;
  }
  if (event.kind == TransportEventKind::ACCEPTED) {
    Conn& conn = *conns_.emplace_back(std::make_unique<Conn>());
    conn.handle = event.conn;
    conn.peer = event.peer;
    conn.listener = event.id;
    world_.transport().set_context(event.conn, &conn);
    return;
  }
  ASSERT(event.context != nullptr);
  Conn& conn = *static_cast<Conn*>(event.context);
  ASSERT(conn.handle == event.conn);
  ASSERT(event.kind == TransportEventKind::CLOSED || world_.transport().is_open(event.conn) == !conn.ended);
  switch (event.kind) {
    case TransportEventKind::RECEIVED:
      ASSERT(event.size > 0);
      if (!conn.ended) conn.received.append(event.data, event.size);
      hold_buffers ? held_buffers.push_back(event.buffer) : world_.transport().release(event.buffer);
      break;
    case TransportEventKind::PEER_CLOSED:
      conn.peer_closed = true;
      break;
    case TransportEventKind::SENT:
      ++conn.sent;
      conn.echoing = false;
      break;
    case TransportEventKind::FAILED:
      ++conn.failed;
      conn.error = event.error;
      break;
    default:
      ++conn.closed;
  }
  if (echo) pump_echo(conn);
}

void Server::pump_echo(Conn& conn) {
  if (conn.ended) return;
  if (conn.failed > 0) {
    close(conn);
    return;
  }
  if (conn.echoing) return;
  conn.sending.swap(conn.received);
  conn.received.clear();
  if (!conn.sending.empty()) {
    conn.echoing = true;
    world_.transport().send_bytes(conn.handle, conn.sending.data(), conn.sending.size());
  } else if (conn.peer_closed) {
    close(conn);
  }
}

void Server::send_text(Conn& conn, std::string text) {
  conn.sending = std::move(text);
  world_.transport().send_bytes(conn.handle, conn.sending.data(), conn.sending.size());
}

bool Server::close(Conn& conn) {
  conn.ended = true;
  return world_.transport().close(conn.handle);
}

bool Server::reset(Conn& conn) {
  conn.ended = true;
  return world_.transport().reset(conn.handle);
}

void Server::close_all() {
  for (const auto& conn : conns_) {
    if (!conn->ended) close(*conn);
  }
}

std::string pattern(size_t size, uint64_t seed) {
  Prng prng(seed);
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = prng.next();
    std::memcpy(bytes.data() + i, &word, std::min<size_t>(8, size - i));
  }
  return bytes;
}

int memory_file(std::string_view bytes) {
  const int fd = ::memfd_create("test", MFD_CLOEXEC);
  ASSERT(fd >= 0);
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + written, bytes.size() - written);
    ASSERT(n > 0);
    written += static_cast<size_t>(n);
  }
  return fd;
}

}  // namespace penstock::test
