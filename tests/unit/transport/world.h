// World: a Transport under test and the clients at its other end, the same for sockets and simulation.
//
// One thread; nothing sleeps: clients are non-blocking, and only poll() waits, for at most TURN.
#pragma once

#include "src/base/unique_fd.h"
#include "src/transport/transport.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::test {

// The client's end of a connection. Destroying it closes it.
class Peer {
 public:
  enum class End { OPEN, FIN, RESET };
  virtual ~Peer() = default;
  // Returns how many of the bytes were taken.
  virtual size_t write(std::string_view bytes) = 0;
  // What is there, up to `bytes_max`.
  [[nodiscard]] virtual std::string read(size_t bytes_max) = 0;
  // How reading has ended, if it has: known after read() came back empty.
  [[nodiscard]] virtual End end() = 0;
  virtual void half_close() = 0;
  virtual void reset() = 0;
  // Of TCP that came from the server; 0 where they are not counted.
  [[nodiscard]] virtual uint32_t packets() { return 0; }
  // The address under which the server sees it.
  [[nodiscard]] virtual PeerAddress address() = 0;
};

// ENGINE is our own TCP engine over a wire of the simulator's, FAULTY the same with faults on the wire. From TLS_URING
// on it is TLS (src/tls) on top of the others: the clients speak TLS, too.
// In KTLS_SIM a fake kernel seals what is sent.
enum class Kind { URING, URING_PLAIN, EPOLL, SIM, ENGINE, FAULTY, TLS_URING, TLS_EPOLL, TLS_SIM, TLS_ENGINE, KTLS_SIM };
[[nodiscard]] const char* kind_name(Kind kind);
[[nodiscard]] constexpr bool is_simulated(Kind kind) {
  return kind == Kind::SIM || kind == Kind::TLS_SIM || kind == Kind::KTLS_SIM;
}
[[nodiscard]] constexpr bool is_engine(Kind kind) {
  return kind == Kind::ENGINE || kind == Kind::FAULTY || kind == Kind::TLS_ENGINE;
}
// Whose work may still be going on in the kernel when its connection's place belongs to the next. TLS stands above it.
[[nodiscard]] constexpr bool has_kernel_threads(Kind kind) { return kind == Kind::URING || kind == Kind::URING_PLAIN; }
[[nodiscard]] constexpr bool is_tls(Kind kind) { return kind >= Kind::TLS_URING; }
inline constexpr Kind ALL_KINDS[] = {Kind::URING,   Kind::URING_PLAIN, Kind::EPOLL,     Kind::SIM,
                                     Kind::ENGINE,  Kind::FAULTY,      Kind::TLS_URING, Kind::TLS_EPOLL,
                                     Kind::TLS_SIM, Kind::TLS_ENGINE,  Kind::KTLS_SIM};

class World {
 public:
  // How long a turn waits at most. Only tests that expect nothing to happen wait that long.
  static constexpr Duration TURN = milliseconds(50);

  // Has one listener, on IPv4 loopback, with id 1. Nullptr where the machine refuses io_uring.
  [[nodiscard]] static std::unique_ptr<World> make(Kind kind, const TransportOptions& options);
  virtual ~World() = default;

  [[nodiscard]] virtual Transport& transport() = 0;
  enum class Family { IPV4, IPV6, UNIX };
  // A listener of its own; returns false where the machine lacks the family.
  [[nodiscard]] virtual bool listen(Family family, uint32_t id) = 0;
  // Takes it from the transport, and closes it.
  virtual void unlisten(uint32_t id) = 0;
  // Nullptr where nobody listens. A slow peer has the smallest socket buffers that can be had.
  [[nodiscard]] virtual std::unique_ptr<Peer> connect(uint32_t listener = 1, bool slow = false) = 0;
  virtual void add_wake(uint32_t id) = 0;
  // REQUIRES: add_wake(id). May be called from another thread.
  virtual void wake(uint32_t id) = 0;
  // Lets the clients go on with what they do by themselves; called before each poll.
  virtual void drive(MonoTime now) { (void)now; }
  // Where the clock is moved by hand: when something happens next, if nobody does anything. never(): time is real.
  [[nodiscard]] virtual MonoTime next_happening() { return MonoTime::never(); }
  // Whether what comes next may come from outside of that clock: a disk, another thread.
  [[nodiscard]] virtual bool waits_for_machine() { return true; }
  // After the transport has gone: what it was caught at, if it can tell.
  [[nodiscard]] virtual std::vector<std::string> violations() { return {}; }

  // One poll, of at most `events_max` events; where the clock is moved by hand, as many as it takes for an event, or
  // for `wait` to pass.
  [[nodiscard]] std::vector<TransportEvent> turn(Duration wait = TURN, size_t events_max = 64);
  void advance(Duration by) { now_ = now_ + by; }

 private:
  MonoTime now_{1'000'000'000};
};

[[nodiscard]] UniqueFd make_wake_fd();
void write_wake_fd(const UniqueFd& fd);

// A server that does as it is told and writes down what it sees.
class Server {
 public:
  struct Conn {
    Handle handle;
    PeerAddress peer;
    uint32_t listener = 0;
    std::string received;
    std::string sending;  // memory of the outstanding send, when send_text() made it
    bool peer_closed = false;
    bool ended = false;  // by us
    bool echoing = false;
    int sent = 0;
    int failed = 0;
    int closed = 0;
    int error = 0;
  };

  explicit Server(World& world) : world_(world) {}

  // Echo what comes in.
  bool echo = false;
  // Keep the buffers of RECEIVED events in held_buffers instead of releasing them.
  bool hold_buffers = false;
  std::vector<uint32_t> held_buffers;
  std::vector<uint32_t> wakes;
  size_t events_max = 64;

  // One poll and what follows from it; returns the number of events.
  size_t turn(Duration wait = World::TURN);
  // Turns until `done`, at most some thousands of them; false if it never came.
  [[nodiscard]] bool until(const std::function<bool()>& done);
  [[nodiscard]] std::vector<std::unique_ptr<Conn>>& conns() { return conns_; }
  [[nodiscard]] Conn& conn(size_t i) { return *conns_[i]; }
  void send_text(Conn& conn, std::string text);
  bool close(Conn& conn);
  bool reset(Conn& conn);
  void close_all();

 private:
  void handle(const TransportEvent& event);
  void pump_echo(Conn& conn);

  World& world_;
  std::vector<std::unique_ptr<Conn>> conns_;
};

// `size` bytes that differ with the seed and along their length.
[[nodiscard]] std::string pattern(size_t size, uint64_t seed);
// A memfd holding `bytes`.
[[nodiscard]] int memory_file(std::string_view bytes);

}  // namespace penstock::test
