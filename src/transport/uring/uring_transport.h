// UringTransport: the Transport over io_uring. One ring per reactor, one io_uring_enter a turn.
//
// Owner and thread: as transport.h says. What it uses of the kernel: multishot accept, multishot
// receive into a provided buffer ring, direct descriptors (6.8; ordinary ones before), one send in
// flight a connection, all of a turn's operations submitted with the call that waits for the next.
// The ring is restricted to the operations listed in open().
//
// File parts go by sendfile(2) on a descriptor that is made when a connection sends its first file;
// cold ones pass through a pipe that a kernel worker fills, so that the reactor never waits for a disk.
#pragma once

#include "src/base/fixed_pool.h"
#include "src/transport/send_job.h"
#include "src/transport/transport.h"
#include "src/uring/buffer_ring.h"
#include "src/uring/ring.h"

#include <memory>
#include <netinet/in.h>
#include <optional>
#include <span>
#include <sys/socket.h>
#include <vector>

namespace penstock {

struct SocketOption;  // kernel_key.h

struct UringOptions {
  bool direct_descriptors = true;  // false: ordinary descriptors although direct ones could be had
  RingOptions ring;
};

class UringTransport final : public Transport {
 public:
  // The error is one line fit for the log: why io_uring cannot be used here.
  [[nodiscard]] static Result<std::unique_ptr<Transport>> open(const TransportOptions& options,
                                                               const UringOptions& uring = {});
  ~UringTransport() override;

  [[nodiscard]] const char* name() const override { return "uring"; }
  [[nodiscard]] size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) override;
  [[nodiscard]] Status add_listener(int fd, uint32_t id) override;
  void remove_listener(uint32_t id) override;
  void pause_accept(bool paused) override;
  void set_zerocopy_min(uint32_t bytes) override { zerocopy_min_ = bytes; }
  [[nodiscard]] Status add_wake_source(int fd, uint32_t id) override;
  [[nodiscard]] bool is_open(Handle conn) const override;
  [[nodiscard]] uint32_t connection_count() const override { return conns_.count(); }
  void set_context(Handle conn, void* context) override { live(conn).context = context; }
  void release(uint32_t buffer) override;
  void send(Handle conn, std::span<const SendPart> parts, bool last) override;
  void no_hurry(Handle conn) override { unhurried_ = conn; }
  [[nodiscard]] bool sees_work() const override {
    return ring_->ready() > 0 || ring_->queued() > 0 || ring_->has_task_work() || ring_->overflowed() ||
           !deferred_.empty() || !early_.empty() || !later_.empty() || !continue_.empty();
  }
  [[nodiscard]] uint64_t bytes_sent(Handle conn) const override { return live(conn).bytes_sent; }
  [[nodiscard]] uint64_t bytes_held(Handle conn) override;
  [[nodiscard]] int take_key(Handle conn, std::span<const char> key) override;
  void send_record(Handle conn, uint8_t type, std::span<const char> bytes) override;
  void set_receiving(Handle conn, bool on) override;
  void shutdown_send(Handle conn) override;
  bool close(Handle conn) override { return end(conn, false); }
  bool reset(Handle conn) override { return end(conn, true); }
  void set_exact_local(bool exact) override;
  [[nodiscard]] PeerAddress local_address(Handle conn) const override;
  [[nodiscard]] const TransportCounters& counters() const override { return counters_; }

  // The ring itself, for tests (that it is restricted, say).
  [[nodiscard]] Ring& ring() { return *ring_; }

 private:
  enum class Op : uint8_t {
    IGNORED,
    ACCEPT,
    OWN_NAME,
    PEER_NAME,
    RECEIVE,
    SEND,
    INSTALL,
    WRITABLE,
    COLD_READ,
    WAKE,
    SHUTDOWN
  };
  enum class SendMode : uint8_t {
    USUAL,
    AT_ONCE,    // or -EAGAIN: it ends within the call that submits it
    CLOSING,    // AT_ONCE, and where all of it went, the descriptor is closed behind it
    WITH_ROOM,  // when the socket has some
  };
  enum ConnFlag : uint16_t {
    ANNOUNCED = 1,       // ACCEPTED was handed out
    RECEIVING = 2,       // the reactor wants bytes
    RECV_ARMED = 4,      // a receive is in the kernel
    RECV_CANCELLED = 8,  // …and was asked to end
    STARVED = 16,        // in starved_: waits for free buffers
    PEER_EOF = 32,
    SENDING = 64,  // send() called, its end not yet handed out
    SEND_MORE = 128,
    FAILED = 256,     // an error came
    FAIL_TOLD = 512,  // …and was handed out
    SHUT = 1024,      // shutdown_send() called
    ENDED = 2048,     // close() or reset() called
    FIRST = 4096,     // nothing was received yet: see arm_receive()
    LATER = 8192,     // the second receive is still to be armed
    // A shutdown is in the kernel, which works on it in a thread of its own and only there looks up the direct
    // descriptor: it must not be another connection's by then.
    SHUTTING = 16384,   // ENDED meanwhile: the descriptor is closed when it is done
    OWN_KNOWN = 32768,  // own_ has the address it came in on
  };
  struct Sending {
    const char* data;  // what is left of the single memory part
    SendJob* job;      // or, for all other sends, this
    uint32_t left;
    uint32_t zerocopy_notices;  // zero-copy sends whose pages the kernel still holds
    int32_t error;              // of the FAILED event to come
    Op armed;                   // the operation in the kernel; IGNORED: none
    bool sealed;                // the kernel has a key for what is sent: take_key()
    bool closes;                // CLOSING: from here on nobody may name the descriptor, which may be another's by now
  };
  // One cache line. Freed when it ENDED and the kernel has nothing of it in hand.
  struct Conn {
    void* context = nullptr;
    uint64_t bytes_sent = 0;
    union {
      Sending send;
      sockaddr_in6 peer;  // before ACCEPTED
    };
    int32_t file = -1;      // index of the direct descriptor, or the descriptor
    int32_t fd = -1;        // an ordinary descriptor, where there is one
    uint32_t listener = 0;  // its place in listeners_
    uint16_t flags = RECEIVING | FIRST;
    uint16_t announced_turn = 0;  // low bits of the count of polls
    Conn() : send{nullptr, nullptr, 0, 0, 0, Op::IGNORED, false, false} {}
    [[nodiscard]] bool has(uint16_t flag) const { return (flags & flag) != 0; }
    void set(uint16_t flag) { flags = static_cast<uint16_t>(flags | flag); }
    void clear(uint16_t flag) { flags = static_cast<uint16_t>(flags & ~flag); }
    // The kernel may still read the parts of the send.
    [[nodiscard]] bool send_in_kernel() const { return send.armed != Op::IGNORED || send.zerocopy_notices > 0; }
  };
  static_assert(sizeof(Conn) <= 64);

  struct Listener {
    int fd = -1;
    uint32_t id = 0;
    bool multishot = false;  // a multishot accept is in the kernel
    uint32_t singles = 0;    // … or so many single ones; never both
    bool cancelled = false;  // … and was asked to end
    bool removed = false;
    PeerAddress bound;  // AF_UNIX for unix sockets
    MonoTime retry_at{};
  };

  struct WakeSource {
    int fd;
    uint32_t id;
  };

  UringTransport(const TransportOptions& options);
  [[nodiscard]] Status set_up(const UringOptions& uring);
  [[nodiscard]] Status restrict_ring();

  // uring_transport.cc
  void start();
  void before_wait(MonoTime now);
  void wait(MonoTime now, MonoTime deadline);
  [[nodiscard]] size_t hand_out_deferred(std::span<TransportEvent> out);
  [[nodiscard]] bool on_completion(const Completion& completion, TransportEvent& event);
  [[nodiscard]] bool on_receive(Conn& conn, Handle handle, const Completion& completion, TransportEvent& event);
  [[nodiscard]] bool on_receive_end(Conn& conn, Handle handle, int result, TransportEvent& event);
  void arm_receive(Conn& conn, Handle handle);
  void rearm_starved();
  void arm_second_receives();
  [[nodiscard]] bool fail(Conn& conn, Handle handle, int error, TransportEvent& event);
  bool end(Handle handle, bool with_reset);
  [[nodiscard]] bool tell_failure(Conn& conn, Handle handle, TransportEvent& event);
  [[nodiscard]] bool after_end(Conn& conn, Handle handle, TransportEvent& event);
  void on_shutdown(Conn& conn);
  void free_if_done(Conn& conn);
  void cancel(uint64_t user_data, uint32_t flags = 0);
  void close_file(int file);
  void abort_on_close(const Conn& conn);
  [[nodiscard]] io_uring_sqe* socket_option_sqe(const Conn& conn, uint32_t command, const SocketOption& option);

  // uring_accept.cc
  [[nodiscard]] uint32_t free_slots() const;
  void note_slots();
  void update_accepting();
  void arm_accept(Listener& listener, bool multishot);
  [[nodiscard]] uint64_t accept_tag(const Listener& listener) const {
    return tag(Op::ACCEPT, {static_cast<uint32_t>(&listener - listeners_.data()), 0});
  }
  void update_accepting(Listener& listener);
  [[nodiscard]] bool on_accept(Listener& listener, const Completion& completion, TransportEvent& event);
  void on_own_name(Handle handle, int descriptor);
  [[nodiscard]] bool on_peer_name(Conn& conn, Handle handle, int result, TransportEvent& event);
  void announce(Conn& conn, Handle handle, const PeerAddress& peer, TransportEvent& event);
  [[nodiscard]] size_t hand_out_early(std::span<TransportEvent> out);
  [[nodiscard]] bool early_is_due() const;
  void accept_failed(Listener& listener, int error);

  // uring_send.cc
  [[nodiscard]] std::optional<int32_t> answer_now(io_uring_sqe& sqe);
  [[nodiscard]] bool goes_uncopied(const Conn& conn, uint64_t bytes) const;
  void submit_send(Conn& conn, Handle handle, SendMode mode);
  void submit_rest(Conn& conn, Handle handle);
  void submit_message(Conn& conn, Handle handle, SendMode mode);
  void set_mode(Conn& conn, io_uring_sqe& sqe, SendMode mode, uint64_t bytes, bool zerocopy);
  void close_behind(Conn& conn, io_uring_sqe& send);
  void keep_file(Conn& conn);
  [[nodiscard]] static bool is_sent(const Conn& conn);
  void count_zerocopy(io_uring_sqe& sqe);
  void count_sent(Conn& conn, uint32_t bytes, bool zerocopy);
  [[nodiscard]] bool on_send(Conn& conn, Handle handle, const Completion& completion, TransportEvent& event);
  [[nodiscard]] bool finish_send(Conn& conn, Handle handle, TransportEvent& event);
  [[nodiscard]] bool settle(Conn& conn, Handle handle, TransportEvent& event);
  void drop_job(Conn& conn);

  // uring_files.cc
  void install_descriptor(Conn& conn, Handle handle);
  [[nodiscard]] bool on_installed(Conn& conn, Handle handle, int result, TransportEvent& event);
  [[nodiscard]] bool on_writable(Conn& conn, Handle handle, int result, TransportEvent& event);
  [[nodiscard]] bool on_cold_read(Conn& conn, Handle handle, int result, TransportEvent& event);
  [[nodiscard]] bool push_and_report(Conn& conn, Handle handle, TransportEvent& event);
  void push_files(Conn& conn, Handle handle);
  [[nodiscard]] SendJob::Result push(Conn& conn, Handle handle);
  void arm_writable(Conn& conn, Handle handle);
  void arm_cold_read(Conn& conn, Handle handle);
  void continue_files();

  // uring_wake.cc
  void arm_wake(uint32_t index);
  [[nodiscard]] bool on_wake(const WakeSource& source, const Completion& completion, TransportEvent& event);

  // user_data: operation, index, generation.
  static constexpr uint64_t tag(Op op, Handle handle) {
    return (static_cast<uint64_t>(op) << 56) | (static_cast<uint64_t>(handle.index) << 32) | handle.generation;
  }
  static constexpr Handle handle_of(uint64_t user_data) {
    return {static_cast<uint32_t>(user_data >> 32) & INDEX_MAX, static_cast<uint32_t>(user_data)};
  }
  static constexpr uint32_t INDEX_MAX = (1U << 24) - 1;

  // The operation's entry, addressed at the connection's socket.
  [[nodiscard]] io_uring_sqe* conn_sqe(const Conn& conn, uint8_t opcode, uint64_t user_data) {
    io_uring_sqe* sqe = ring_->sqe();
    sqe->opcode = opcode;
    sqe->fd = conn.file;
    sqe->flags = file_flag_;
    sqe->user_data = user_data;
    return sqe;
  }
  [[nodiscard]] Conn& live(Handle handle) const {
    Conn* conn = conns_.find(handle);
    ASSERT(conn != nullptr && !conn->has(ENDED));
    return *conn;
  }

  std::unique_ptr<BufferRing> buffers_;  // outlives the ring: declared before it
  std::unique_ptr<Ring> ring_;
  mutable FixedPool<Conn> conns_;
  FixedPool<SendJob> jobs_;
  uint8_t file_flag_ = 0;  // IOSQE_FIXED_FILE with direct descriptors
  bool direct_ = false;
  bool started_ = false;
  bool accept_paused_ = false;
  bool at_limit_ = false;
  bool scarce_ = false;  // free slots are few: see uring_accept.cc
  uint32_t buffers_lent_ = 0;
  Handle unhurried_;   // no_hurry() was said of its next send
  uint32_t sure_ = 0;  // operations queued since the last wait that end within the call: see wait()
  MonoTime now_{};
  MonoTime accept_retry_at_ = MonoTime::never();
  TransportOptions options_;
  uint32_t zerocopy_min_ = 0;  // set_zerocopy_min()
  bool exact_local_ = false;   // set_exact_local()
  std::vector<Listener> listeners_;
  std::vector<PeerAddress> own_;  // by index of the connection, if it came in on a wildcard and somebody asks
  std::vector<WakeSource> wake_sources_;
  std::vector<Handle> starved_;
  std::vector<Handle> later_;      // connections whose second receive is to be armed unless they are closed first
  std::vector<Handle> continue_;   // file sends that used up their share of a turn
  std::vector<Handle> deferred_;   // sends that came to rest without a completion: their end is to be told
  std::vector<Completion> early_;  // receives to be told after the batch that announces their connection
  TransportCounters counters_;
};

}  // namespace penstock
