// TlsTransport: TLS as a layer on any Transport: encrypted below, plain above. See transport.h for the contract.
//
// Connections of listeners that do not speak TLS pass through. Of the others the layer above sees nothing before the
// handshake is done: a handshake that fails, is left or takes too long is one NOTED event. Above, a connection bears
// the handle that it has below.
//
// Memory. Received bytes are decrypted from the buffers where they came into buffers of this layer (one of their own,
// as many as below), which the layer above releases; what the layer above sends is read where it lies and encrypted
// into blocks, of which a connection has WINDOW_BYTES under way at most, in one send of the layer below. So the parts
// of a send are not lent beyond close(). An idle connection has neither buffer nor block.
// Records are small at first, so that the client can use what has arrived, and whole once the connection is warm.
//
// Where the transport below takes keys (Transport::take_key(): kTLS), the key of a connection is offered before its
// first data, once all that was sealed here is SENT. If it is taken, sends go down as they are, files as files, and
// their parts are lent as the transport below lends them, beyond close(), too. If not, all goes on as it was.
//
// Thread: as every transport's.
#pragma once

#include "src/base/clock.h"
#include "src/base/fixed_pool.h"
#include "src/base/inplace_vector.h"
#include "src/tls/remote_key.h"
#include "src/tls/tls_session.h"
#include "src/transport/transport_layer.h"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace penstock {

class TlsTransport final : public TransportLayer {
 public:
  // Plaintext buffers are numbered from here on, so that release() knows whose a buffer is.
  static constexpr uint32_t OWN_BUFFER = uint32_t{1} << 31;
  static constexpr size_t WINDOW_BYTES = 128 * 1'024;

  // Of our own wake source; the layer above uses smaller ones.
  static constexpr uint32_t KEY_WAKE = UINT32_MAX;

  // `below` is opened with the same `options`. `keys` is where signatures are made; nullptr: in this process (tests).
  // All references outlive it.
  TlsTransport(Transport& below, TlsContext& context, KeyChannel* keys, Clock& clock, const TransportOptions& options);
  ~TlsTransport() override;

  [[nodiscard]] size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) override;
  void set_layers(uint32_t id, const ListenerLayers& layers) override;
  [[nodiscard]] bool is_open(Handle conn) const override;
  [[nodiscard]] uint32_t connection_count() const override { return below_.connection_count(); }
  void set_context(Handle conn, void* context) override;
  void release(uint32_t buffer) override;
  void send(Handle conn, std::span<const SendPart> parts, bool last) override;
  void no_hurry(Handle conn) override;
  [[nodiscard]] uint64_t bytes_sent(Handle conn) const override;
  void set_receiving(Handle conn, bool on) override;
  void shutdown_send(Handle conn) override;
  bool close(Handle conn) override;
  bool reset(Handle conn) override;
  [[nodiscard]] PeerAddress local_address(Handle conn) const override { return below_.local_address(conn); }
  [[nodiscard]] LayerFacts layer(Handle conn) const override;
  void drain(Handle conn) override;
  [[nodiscard]] const TransportCounters& counters() const override;

  // For tests and for status.
  [[nodiscard]] uint32_t handshakes() const { return handshaking_.count; }
  [[nodiscard]] size_t blocks_taken() const { return cipher_.taken(); }
  [[nodiscard]] size_t buffers_lent() const { return buffers_.size() - free_buffers_.size(); }

 private:
  static constexpr uint32_t NONE = UINT32_MAX;

  enum class State : uint8_t {
    HANDSHAKE,
    OPEN,
    DYING,  // ended for the layer above; the last bytes are on their way
    GONE    // ended below, too; the blocks of its last send are not free yet
  };

  // The parts of a send that are not encrypted yet.
  struct Sending {
    explicit Sending(std::span<const SendPart> its_parts) : parts(its_parts) {}
    InplaceVector<SendPart, SEND_PARTS_MAX> parts;
    uint32_t next = 0;
    uint64_t done = 0;  // of parts[next]
    uint32_t cold_tries = 0;
  };

  struct Conn {
    Handle handle;
    void* context = nullptr;
    KeyWait wait;                       // of the handshake
    std::optional<TlsSession> session;  // from the first byte on
    CipherChain out;                    // encrypted, not yet with the layer below
    CipherChain flight;                 // with it
    Sending* sending = nullptr;
    Conn* before = nullptr;  // in a list of those with a deadline
    Conn* after = nullptr;
    MonoTime at;  // in handshaking_: when it was accepted; in dying_: until when it may take
    PeerAddress peer;
    uint32_t listener = 0;
    uint32_t input_first = NONE;  // received below, not read yet; a list in inputs_
    uint32_t input_last = NONE;
    int32_t error = 0;  // of FAILED; 0: none
    State state = State::HANDSHAKE;
    bool in_ready = false;
    bool receiving = true;
    bool waits_key = false;     // its handshake goes on when keyd has signed
    bool came = false;          // a byte has come
    bool eof = false;           // the peer's FIN has come
    bool eof_told = false;      // PEER_CLOSED was delivered
    bool fail_told = false;     // FAILED was delivered
    bool broken_below = false;  // FAILED came from below
    bool with_below = false;    // the layer below has a send of ours
    bool offered = false;       // our key, for kTLS
    bool lent = false;          // what the layer below has are the parts of the layer above
    bool next_key = false;      // what it has is a key update
    bool send_open = false;     // the layer above waits for SENT
    bool shut_wanted = false;
    bool shut = false;
    bool starved = false;
    uint64_t plain_sent = 0;    // plaintext whose ciphertext is handed over
    uint64_t plain_flight = 0;  // … is with the layer below
    uint64_t plain_out = 0;     // … is in `out`
    uint64_t below_mark = 0;    // bytes_sent() below when its send began
    uint32_t warmth = 0;        // bytes of small records so far
    MonoTime warm_at;           // of the last send
  };

  struct Slot {
    Conn* conn = nullptr;
    bool tls = false;  // what lives here, or was the last to: late events of a dead one are ours
  };
  struct Input {
    const char* data = nullptr;
    uint32_t size = 0;
    uint32_t next = NONE;
  };
  struct DueList {
    Conn* first = nullptr;
    Conn* last = nullptr;
    uint32_t count = 0;
  };

  // tls_transport.cc: events
  [[nodiscard]] Conn* find(Handle conn) const;
  [[nodiscard]] Conn& live(Handle conn) const;
  void translate(const TransportEvent& event, std::span<TransportEvent> out, size_t& count);
  void accept(const TransportEvent& event, std::span<TransportEvent> out, size_t& count);
  void received(Conn& conn, const TransportEvent& event);
  void sent_below(Conn& conn, std::span<TransportEvent> out, size_t& count);
  void make_ready(Conn& conn);
  void pump_ready(std::span<TransportEvent> out, size_t& count);
  void pump(Conn& conn, std::span<TransportEvent> out, size_t& count);
  void pump_open(Conn& conn, std::span<TransportEvent> out, size_t& count);
  [[nodiscard]] bool read_into_buffer(Conn& conn, std::span<TransportEvent> out, size_t& count);
  void expire();
  [[nodiscard]] MonoTime next_due() const;
  [[nodiscard]] Duration handshake_timeout() const;

  // tls_handshake.cc
  void pump_handshake(Conn& conn, std::span<TransportEvent> out, size_t& count);
  [[nodiscard]] bool begin_session(Conn& conn);
  void handshake_done(Conn& conn, std::span<TransportEvent> out, size_t& count);
  void refuse(Conn& conn, Reason reason);
  void note(const Conn& conn, Reason reason);
  void start_keys();
  void keys_came();
  void give_up_key(Conn& conn);
  void refuse_plain_http(Conn& conn);

  // tls_send.cc
  void encrypt(Conn& conn);
  [[nodiscard]] bool encrypt_record(Conn& conn);
  [[nodiscard]] size_t gather(Conn& conn, size_t wanted);
  [[nodiscard]] int64_t read_file(Conn& conn, const SendPart& part, char* out, size_t size);
  [[nodiscard]] size_t record_bytes(const Conn& conn, uint64_t left) const;
  void flush(Conn& conn, bool unhurried = false);
  void retry_cold();
  void drop_sending(Conn& conn);
  void fail(Conn& conn, int error);

  // tls_kernel.cc: connections whose records are sealed below
  void offer_key(Conn& conn);
  void pass_key(Conn& conn);
  void pass_down(Conn& conn);

  // tls_end.cc: the end of connections
  [[nodiscard]] bool next_input(Conn& conn);
  void drop_inputs(Conn& conn);
  [[nodiscard]] bool end(Conn& conn, bool with_reset);
  [[nodiscard]] bool cut_below(Conn& conn, bool with_reset);
  void end_below(Conn& conn, bool with_reset) { (void)cut_below(conn, with_reset); }
  void forget(Conn& conn);
  void begin_dying(Conn& conn);
  void link(DueList& list, Conn& conn, MonoTime at);
  void unlink(Conn& conn);

  TlsContext& context_;
  KeyChannel* keys_;
  bool keys_started_ = false;
  bool takes_keys_ = true;  // the transport below
  Clock& clock_;
  TransportOptions options_;
  MonoTime now_;
  FixedPool<Conn> conns_;
  FixedPool<Sending> sendings_;
  CipherPool cipher_;
  std::vector<Slot> slots_;      // by Handle::index of the layer below
  std::vector<Input> inputs_;    // by buffer of the layer below
  std::vector<Handle> ready_;    // connections with something to be looked at
  std::vector<Handle> working_;  // ready_ while it is being worked through
  std::vector<Handle> starved_;
  std::vector<Handle> cold_;
  MonoTime cold_at_ = MonoTime::never();
  DueList handshaking_;
  DueList dying_;
  std::vector<uint32_t> tls_listeners_;
  std::vector<TransportEvent> notes_;  // to be handed out
  std::vector<TransportEvent> events_;
  std::vector<std::unique_ptr<char[]>> buffers_;
  std::vector<uint32_t> free_buffers_;
  std::unique_ptr<char[]> scratch_;  // a record put together out of several parts, or read from a file
  uint64_t bytes_from_files_ = 0;
  uint64_t starved_count_ = 0;
  uint64_t handshakes_done_ = 0;
  uint64_t handshakes_resumed_ = 0;
  uint64_t bytes_encrypted_ = 0;
  uint64_t bytes_gathered_ = 0;
  uint64_t kernel_tls_ = 0;
  uint64_t kernel_tls_refused_ = 0;
  mutable TransportCounters counters_;
  Handle unhurried_;  // no_hurry() was said of its next send
};

}  // namespace penstock
