// SimTransport: the Transport of the seeded simulator. No socket, no system call but pread(2) of file parts.
//
// Owner: a test. Single thread; poll() never waits: a driver lets the clients act, calls the reactor, moves
// the clock. One seed decides every delay, every cut and every fault, so a seed replays a run exactly.
//
// The server's side is the Transport contract; the clients' side are the client_… calls. Between the two lies
// a model of two socket buffers for each connection, with these faults, each "once in N chances", 0 = never.
//
// It also holds the reactor to the contract. Breaches are written down in violations(), never forgiven:
// calls on dead or failed handles, a second send, a send after shutdown_send, a buffer released twice or
// never, parts that change while they are lent, a context lost. A released buffer is filled with 0xDB and,
// under AddressSanitizer, poisoned; the bytes of a RECEIVED event end where the buffer ends, so that reading
// one byte too many is seen.
#pragma once

#include "src/base/prng.h"
#include "src/transport/transport.h"

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct SimFaults {
  uint32_t one_byte_receive = 0;       // a receive brings one byte
  uint32_t partial_receive = 0;        // … or a random part of what is there
  uint32_t late_receive = 0;           // … or nothing this turn
  uint32_t partial_send = 0;           // the kernel takes a random part of a send
  uint32_t late_send = 0;              // … or nothing this turn
  uint32_t late_event = 0;             // SENT, CLOSED, PEER_CLOSED come a turn later (asked anew each turn)
  uint32_t reset = 0;                  // asked once a turn and connection: the peer resets
  uint32_t starve = 0;                 // a receive finds no buffer this turn
  uint32_t socket_bytes_max = 65'536;  // the socket holds so much that the client has not read

  // Everything at once, in strengths drawn from the seed.
  [[nodiscard]] static SimFaults from_seed(uint64_t seed);
};

class SimTransport final : public Transport {
 public:
  SimTransport(const TransportOptions& options, uint64_t seed, const SimFaults& faults = {});
  ~SimTransport() override;

  // ---- the reactor's side
  [[nodiscard]] const char* name() const override { return "sim"; }
  [[nodiscard]] size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) override;
  // Never; asked at each look of a reactor that does not sleep yet, when `on_look` is called.
  [[nodiscard]] bool sees_work() const override {
    if (on_look) on_look();
    return false;
  }
  std::function<void()> on_look;
  // `fd` is not looked at: client_connect() names the id.
  [[nodiscard]] Status add_listener(int fd, uint32_t id) override;
  void remove_listener(uint32_t id) override;
  void pause_accept(bool paused) override { accept_paused_ = paused; }
  void set_zerocopy_min(uint32_t) override {}
  // `fd` is not looked at: wake() names the id.
  [[nodiscard]] Status add_wake_source(int fd, uint32_t id) override;
  [[nodiscard]] bool is_open(Handle conn) const override;
  [[nodiscard]] uint32_t connection_count() const override;
  void set_context(Handle conn, void* context) override;
  void release(uint32_t buffer) override;
  void send(Handle conn, std::span<const SendPart> parts, bool last) override;
  [[nodiscard]] uint64_t bytes_sent(Handle conn) const override;
  void set_receiving(Handle conn, bool on) override;
  void shutdown_send(Handle conn) override;
  bool close(Handle conn) override { return end(conn, false); }
  bool reset(Handle conn) override { return end(conn, true); }
  [[nodiscard]] PeerAddress local_address(Handle conn) const override;
  [[nodiscard]] const TransportCounters& counters() const override { return counters_; }

  // ---- the clients' side; a client is named by the number client_connect() gave it
  enum class ClientState : uint8_t {
    WAITING,  // in the backlog
    OPEN,
    FINISHED,  // the server sent FIN and every byte before it was taken
    RESET,     // the server, or a fault, reset the connection
    REFUSED,   // its listener is gone
  };
  [[nodiscard]] uint32_t client_connect(uint32_t listener, const PeerAddress& peer);
  // Bytes on their way to the server. Ignored once the client sent FIN or the connection is gone.
  void client_send(uint32_t client, std::string_view bytes);
  // What has arrived from the server, at most `bytes_max`, taken out of the socket: makes room in it.
  [[nodiscard]] std::string client_take(uint32_t client, size_t bytes_max = SIZE_MAX);
  void client_half_close(uint32_t client);
  void client_reset(uint32_t client);
  [[nodiscard]] ClientState client_state(uint32_t client) const;
  // Bytes that the server has not received yet.
  [[nodiscard]] size_t client_unread(uint32_t client) const;
  // The server end of it, invalid before ACCEPTED.
  [[nodiscard]] Handle client_server_handle(uint32_t client) const;

  void wake(uint32_t id) { woken_.push_back(id); }
  // From here on nothing goes wrong any more: "after faults stop all finishes".
  void stop_faults() { faults_ = {.socket_bytes_max = faults_.socket_bytes_max}; }

  // Something may happen at the next poll() although no client acts.
  [[nodiscard]] bool has_work() const;
  [[nodiscard]] uint32_t buffers_lent() const { return buffers_lent_; }
  // Breaches of the contract so far; at_end() adds what is only wrong when all is over: buffers still lent,
  // connections still open, sends never told.
  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  void at_end();

 private:
  struct Part {
    SendPart part;
    uint64_t checksum = 0;  // of memory parts, at send()
  };
  struct Conn {
    uint32_t generation = 1;
    uint32_t client = 0;
    uint32_t listener = 0;
    bool live = false;  // between ACCEPTED and close()
    bool gone = true;   // slot is free
    void* context = nullptr;
    PeerAddress peer;
    bool receiving = true;
    bool eof_told = false;
    bool sending = false;
    bool last = false;       // send() said so
    bool close_due = false;  // … and its SENT was told: due before the next poll()
    bool shut = false;
    bool failed = false;
    int error = 0;
    uint64_t accepted_turn = 0;
    uint64_t fail_told_turn = 0;
    uint64_t bytes_sent = 0;
    std::vector<Part> parts;
    size_t next_part = 0;
    uint64_t part_sent = 0;
  };
  struct Client {
    uint32_t listener = 0;
    PeerAddress peer;
    ClientState state = ClientState::WAITING;
    uint32_t conn = UINT32_MAX;
    std::string to_server;
    std::string to_client;  // the socket: sent, not yet taken
    bool fin_to_server = false;
    bool fin_to_client = false;
  };
  struct Buffer {
    std::unique_ptr<char[]> bytes;
    bool lent = false;
  };

  [[nodiscard]] bool chance(uint32_t one_in) { return one_in != 0 && prng_.one_in(one_in); }
  void violate(const std::string& what, Handle conn);
  [[nodiscard]] Conn* usable(Handle handle, const char* call);
  [[nodiscard]] const Conn* find(Handle handle) const;
  [[nodiscard]] Handle handle_of(size_t index) const {
    return {static_cast<uint32_t>(index), conns_[index].generation};
  }
  bool end(Handle handle, bool with_reset);
  void free_slot(Conn& conn);
  void break_connection(Client& client, int error);

  [[nodiscard]] bool accept_one(TransportEvent& event);
  [[nodiscard]] bool step(size_t index, TransportEvent& event);
  [[nodiscard]] bool step_receive(Conn& conn, Handle handle, TransportEvent& event);
  [[nodiscard]] bool step_send(Conn& conn, Handle handle, TransportEvent& event);
  [[nodiscard]] bool step_failed(Conn& conn, Handle handle, TransportEvent& event);
  void move_bytes(Conn& conn, Client& client);
  [[nodiscard]] bool move_part(Conn& conn, Client& client, uint64_t room);
  void check_parts(const Conn& conn, Handle handle);
  void drop_parts(Conn& conn);
  [[nodiscard]] uint32_t take_buffer();

  TransportOptions options_;
  Prng prng_;
  SimFaults faults_;
  bool accept_paused_ = false;
  uint64_t turn_ = 0;
  uint32_t buffers_lent_ = 0;
  std::vector<uint32_t> listeners_;
  std::vector<uint32_t> wake_sources_;
  std::vector<uint32_t> woken_;
  std::deque<uint32_t> backlog_;  // clients
  std::deque<Conn> conns_;
  std::vector<Client> clients_;
  std::vector<Buffer> buffers_;
  std::vector<std::string> violations_;
  TransportCounters counters_;
};

}  // namespace penstock
