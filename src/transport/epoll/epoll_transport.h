// EpollTransport: the Transport over edge-triggered epoll, for where io_uring is refused.
//
// Owner and thread: as transport.h says. Sends go to the kernel inside send(), one system call each;
// their ends are told by the next poll(). close() and reset() are done when they return: no CLOSED
// event ever follows. Receive buffers are taken only when a socket is known to have bytes.
#pragma once

#include "src/base/fixed_pool.h"
#include "src/base/unique_fd.h"
#include "src/transport/send_job.h"
#include "src/transport/transport.h"

#include <memory>
#include <span>
#include <sys/epoll.h>
#include <vector>

namespace penstock {

class EpollTransport final : public Transport {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Transport>> open(const TransportOptions& options);
  ~EpollTransport() override;

  [[nodiscard]] const char* name() const override { return "epoll"; }
  [[nodiscard]] size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) override;
  [[nodiscard]] Status add_listener(int fd, uint32_t id) override;
  void remove_listener(uint32_t id) override;
  void pause_accept(bool paused) override;
  void set_zerocopy_min(uint32_t) override {}
  [[nodiscard]] Status add_wake_source(int fd, uint32_t id) override;
  [[nodiscard]] bool is_open(Handle conn) const override { return conns_.find(conn) != nullptr; }
  [[nodiscard]] uint32_t connection_count() const override { return conns_.count(); }
  void set_context(Handle conn, void* context) override { live(conn).context = context; }
  void release(uint32_t buffer) override;
  void send(Handle conn, std::span<const SendPart> parts, bool last) override;
  [[nodiscard]] uint64_t bytes_sent(Handle conn) const override { return live(conn).bytes_sent; }
  [[nodiscard]] uint64_t bytes_held(Handle conn) override;
  [[nodiscard]] int take_key(Handle conn, std::span<const char> key) override;
  void send_record(Handle conn, uint8_t type, std::span<const char> bytes) override;
  void set_receiving(Handle conn, bool on) override;
  void shutdown_send(Handle conn) override;
  bool close(Handle conn) override;
  bool reset(Handle conn) override;
  void set_exact_local(bool exact) override { exact_local_ = exact; }
  [[nodiscard]] PeerAddress local_address(Handle conn) const override;
  [[nodiscard]] const TransportCounters& counters() const override { return counters_; }

 private:
  enum class Kind : uint8_t { CONNECTION, LISTENER, WAKE };
  enum ConnFlag : uint16_t {
    RECEIVING = 1,  // the reactor wants bytes
    READABLE = 2,   // the socket may hold bytes, an end or an error
    HANG_UP = 4,    // the peer's FIN or a reset is behind the bytes: read on until it shows
    QUEUED = 8,     // in readable_
    PEER_EOF = 16,
    SENDING = 32,  // send() called, its end not yet handed out
    SEND_MORE = 64,
    BLOCKED = 128,  // waits for the socket to take more
    FAILED = 256,
    FAIL_TOLD = 512,
    SHUT = 1024,
    SEALED = 2048,  // the kernel has a key for what is sent: take_key()
  };

  struct Conn {
    void* context = nullptr;
    uint64_t bytes_sent = 0;
    const char* data = nullptr;  // what is left of the single memory part
    uint64_t left = 0;
    SendJob* job = nullptr;  // or, for all other sends, this
    int32_t fd = -1;
    int32_t error = 0;
    uint32_t listener = 0;  // its place in listeners_
    uint16_t flags = RECEIVING;
    [[nodiscard]] bool has(uint16_t flag) const { return (flags & flag) != 0; }
    void set(uint16_t flag) { flags = static_cast<uint16_t>(flags | flag); }
    void clear(uint16_t flag) { flags = static_cast<uint16_t>(flags & ~flag); }
  };
  static_assert(sizeof(Conn) <= 64);

  struct Listener {
    int fd = -1;
    uint32_t id = 0;
    bool watched = false;
    bool removed = false;
    bool ready = false;  // connections may be waiting
    PeerAddress bound;
    MonoTime retry_at{};
  };

  // A file send that waits for the kernel's read-ahead.
  struct ColdSend {
    Handle conn;
    uint32_t tries;
  };

  EpollTransport(const TransportOptions& options);
  [[nodiscard]] Status set_up();

  [[nodiscard]] bool has_work() const;
  void wait(MonoTime deadline);
  void on_ready(const epoll_event& ready);
  [[nodiscard]] size_t hand_out_wakes(std::span<TransportEvent> out);
  [[nodiscard]] size_t hand_out_deferred(std::span<TransportEvent> out);
  [[nodiscard]] size_t accept_all(std::span<TransportEvent> out);
  [[nodiscard]] bool accept_one(Listener& listener, TransportEvent& event);
  void accept_failed(Listener& listener, int error);
  void update_accepting();
  void update_accepting(Listener& listener);
  [[nodiscard]] size_t receive_all(std::span<TransportEvent> out);
  [[nodiscard]] bool receive(Conn& conn, Handle handle, TransportEvent& event);
  [[nodiscard]] bool on_receive_end(Conn& conn, Handle handle, ssize_t result, TransportEvent& event);
  void queue_readable(Conn& conn, Handle handle);

  // epoll_send.cc
  void push(Conn& conn, Handle handle);
  void push_single(Conn& conn, Handle handle);
  void push_job(Conn& conn, Handle handle, uint32_t cold_tries);
  void send_failed(Conn& conn, Handle handle, int error);
  void finish(Handle handle) { deferred_.push_back(handle); }
  void retry_cold();
  void continue_files();
  void drop_job(Conn& conn);
  bool end(Handle handle);

  static constexpr uint64_t tag(Kind kind, Handle handle) {
    return (static_cast<uint64_t>(kind) << 56) | (static_cast<uint64_t>(handle.index) << 32) | handle.generation;
  }
  [[nodiscard]] Conn& live(Handle handle) const {
    Conn* conn = conns_.find(handle);
    ASSERT(conn != nullptr);
    return *conn;
  }

  UniqueFd epoll_;
  mutable FixedPool<Conn> conns_;
  FixedPool<SendJob> jobs_;
  TransportOptions options_;
  char* buffer_memory_ = nullptr;
  size_t buffer_memory_bytes_ = 0;
  std::vector<uint32_t> free_buffers_;  // the one last released is lent first: it is still in the cache
  std::vector<bool> lent_;
  bool accept_paused_ = false;
  bool at_limit_ = false;
  bool exact_local_ = false;  // set_exact_local()
  MonoTime now_{};
  MonoTime accept_retry_at_ = MonoTime::never();
  MonoTime cold_retry_at_ = MonoTime::never();
  std::vector<Listener> listeners_;
  std::vector<uint32_t> wake_ids_;
  std::vector<uint32_t> woken_;
  std::vector<Handle> readable_;
  std::vector<Handle> deferred_;  // sends that came to an end, failures to be told
  std::vector<Handle> continue_;  // file sends that used up their share of a turn
  std::vector<ColdSend> cold_;
  std::vector<epoll_event> ready_;
  TransportCounters counters_;
};

}  // namespace penstock
