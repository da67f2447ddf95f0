// EngineTransport: the Transport over our own TCP engine (src/net) and a PacketDevice, with no kernel in the data path.
//
// Owner and thread: as transport.h says. It knows no DPDK: transport/dpdk gives it a port, tests a TAP device or a wire
// to another engine. Memory parts go to the engine as they are, and stay until the peer has acknowledged them: SENT
// means that. File parts pass through FileChunks. What comes in is lent out of the frames themselves.
//
// A turn that finds nothing returns at once, so that its owner polls on; after `spin` without traffic it sleeps on the
// device's descriptor and the wake sources, or in short naps where the device has none. It reads no clock: after a
// sleep poll() returns 0, and the owner comes again with the time.
#pragma once

#include "src/base/fixed_pool.h"
#include "src/base/inplace_vector.h"
#include "src/base/unique_fd.h"
#include "src/net/net_stack.h"
#include "src/transport/engine/file_chunks.h"
#include "src/transport/engine/kernel_path.h"
#include "src/transport/transport.h"

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <sys/epoll.h>
#include <vector>

namespace penstock {

struct EngineOptions {
  TransportOptions transport;
  NetConfig net;  // its connections_max is what the transport's needs, see open()
  const char* name = "engine";
  Duration spin = milliseconds(100);
  uint32_t file_chunks = 512;
  // A TAP device of the kernel's that the port is shared with (KernelPath), which outlives the transport; -1: it is
  // not.
  int kernel_fd = -1;
  // Of several engines on one port: one announces the addresses and takes what the kernel sends; each hands on what it
  // gets.
  bool first = true;
  // Whether another process hears what comes to the port as well (net/port_handover.h); looked at in each turn, and
  // outlives the transport. nullptr: never. Who has a listener then answers, who has none is silent.
  const std::atomic<bool>* heard_by_two = nullptr;
};

class EngineTransport final : public Transport {
 public:
  // The device outlives the transport.
  [[nodiscard]] static Result<std::unique_ptr<EngineTransport>> open(PacketDevice& device, EngineOptions options,
                                                                     MonoTime now);
  ~EngineTransport() override;

  [[nodiscard]] const char* name() const override { return options_.name; }
  [[nodiscard]] size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) override;
  // Only asking the port tells, and that costs no system call.
  [[nodiscard]] bool sees_work() const override { return true; }
  // `fd` is bound (listening or not) to a wildcard address or to one of the engine's, which then listens there; what
  // reaches the kernel's own interfaces is not served.
  [[nodiscard]] Status add_listener(int fd, uint32_t id) override;
  // Without the last one the port is on its way to another server, or to none: new connections are not refused, so that
  // their SYNs come again.
  void remove_listener(uint32_t id) override;
  void pause_accept(bool paused) override { stack_.pause_accept(paused); }
  // Only where two hear the port: elsewhere the next server waits for our end.
  [[nodiscard]] bool has_unsettled() const override { return now_ < patience_until_ && stack_.has_unsettled(); }
  void set_zerocopy_min(uint32_t) override {}
  [[nodiscard]] Status add_wake_source(int fd, uint32_t id) override;
  [[nodiscard]] bool is_open(Handle conn) const override;
  // One more while the end of closed ones is still to be sent.
  [[nodiscard]] uint32_t connection_count() const override { return conns_.count() + (stack_.has_output() ? 1U : 0U); }
  void set_context(Handle conn, void* context) override { live(conn).context = context; }
  void release(uint32_t buffer) override { stack_.release(buffer); }
  void send(Handle conn, std::span<const SendPart> parts, bool last) override;
  [[nodiscard]] uint64_t bytes_sent(Handle conn) const override;
  void set_receiving(Handle conn, bool on) override;
  void shutdown_send(Handle conn) override;
  bool close(Handle conn) override;
  bool reset(Handle conn) override;
  [[nodiscard]] PeerAddress local_address(Handle conn) const override;
  [[nodiscard]] const TransportCounters& counters() const override { return counters_; }

  [[nodiscard]] NetStack& stack() { return stack_; }
  // Of FileChunks.
  [[nodiscard]] uint32_t chunks_lent() const { return static_cast<uint32_t>(notes_.size()) - chunks_.free_count(); }
  [[nodiscard]] uint32_t reads_under_way() const { return chunks_.under_way(); }

 private:
  enum ConnFlag : uint16_t {
    SENDING = 1,     // send() called, its end not yet handed out
    READING = 2,     // a file read of it is under way
    WAITING = 4,     // in waiting_: for send pieces, chunks, or a disk
    ENGINE = 8,      // `engine` is a connection of the engine's
    BUSY = 16,       // closed there, and it still holds parts: its CLOSED follows
    FAILED = 32,     // it is dead; to be told, or told
    TOLD = 64,       // … told
    ENDED = 128,     // close() or reset() called
    FINISHED = 256,  // in finished_
    LAST = 512,      // nothing follows the outstanding send: its last segment takes the FIN along
  };
  // A send with file parts, or with more bytes than the engine takes at a time.
  struct Job {
    explicit Job(std::span<const SendPart> its_parts) : parts(its_parts) {}
    InplaceVector<SendPart, SEND_PARTS_MAX> parts;
    uint32_t next = 0;       // the first part not wholly given to the engine
    uint64_t part_done = 0;  // bytes of it that were
    uint32_t tries = 0;      // reads put off
  };
  struct Conn {
    Handle engine;
    void* context = nullptr;
    Job* job = nullptr;
    uint64_t queued = 0;                  // bytes given to the engine so far
    uint32_t in_engine = 0;               // sends to the engine without their SENT
    uint32_t chunks = FileChunks::NONE;   // lent to the engine, newest first
    uint32_t reading = FileChunks::NONE;  // being filled
    int32_t error = 0;
    uint16_t chunk_count = 0;
    uint16_t flags = ENGINE;
    PeerAddress local;
    [[nodiscard]] bool has(uint16_t flag) const { return (flags & flag) != 0; }
    void set(uint16_t flag) { flags = static_cast<uint16_t>(flags | flag); }
    void clear(uint16_t flag) { flags = static_cast<uint16_t>(flags & ~flag); }
  };
  // Beside each chunk.
  struct ChunkNote {
    Handle conn;
    uint32_t next = FileChunks::NONE;
  };

  EngineTransport(PacketDevice& device, const EngineOptions& options, MonoTime now);
  [[nodiscard]] Status set_up();

  // engine_transport.cc
  [[nodiscard]] size_t hand_out_wakes(std::span<TransportEvent> out);
  [[nodiscard]] size_t hand_out_finished(std::span<TransportEvent> out);
  [[nodiscard]] size_t take_engine_events(std::span<TransportEvent> out);
  [[nodiscard]] bool translate(const NetEvent& event, TransportEvent& out);
  [[nodiscard]] bool accepted(const NetEvent& event, TransportEvent& out);
  void follow_handover();
  [[nodiscard]] Status watch_kernel();
  void turn_kernel();
  void wait(MonoTime deadline);
  void doze(MonoTime until);
  void look_for_wakes(int64_t timeout_us);
  void finish(Conn& conn);
  bool end(Handle handle, bool with_reset);
  void give(Conn& conn);

  // engine_send.cc
  void feed(Conn& conn);
  [[nodiscard]] bool send_at_once(Conn& conn, std::span<const SendPart> parts);
  [[nodiscard]] bool feed_memory(Conn& conn);
  [[nodiscard]] bool feed_file(Conn& conn);
  [[nodiscard]] bool lend(Conn& conn, uint32_t chunk, int bytes);
  void wait_for_room(Conn& conn);
  void retry_waiting();
  void take_reads();
  void sent(Conn& conn, uint64_t token);
  void fail_send(Conn& conn, int error);
  void give_chunks(Conn& conn);
  void drop_job(Conn& conn);

  [[nodiscard]] Conn& live(Handle handle) const {
    Conn* conn = conns_.find(handle);
    ASSERT(conn != nullptr && !conn->has(ENDED));
    return *conn;
  }

  PacketDevice& device_;
  EngineOptions options_;
  NetStack stack_;
  std::array<NetEvent, 128> events_;  // of a turn; not on the stack, where each turn would clear it
  mutable FixedPool<Conn> conns_;
  FixedPool<Job> jobs_;
  FileChunks chunks_;
  std::vector<ChunkNote> notes_;
  std::unique_ptr<KernelPath> kernel_;
  const DeviceCounts* device_counts_;
  bool kernel_sends_ = false;  // it may have frames
  UniqueFd epoll_;
  std::vector<uint32_t> wake_ids_;
  std::vector<uint32_t> woken_;
  std::vector<Handle> finished_;  // sends that came to an end, failures and ends to be told
  std::vector<Handle> waiting_;   // sends that wait for room
  std::vector<Handle> retrying_;
  int device_fd_ = -1;  // watched
  bool started_ = false;
  bool heard_by_two_ = false;
  MonoTime now_{};
  MonoTime patience_until_{};  // of one that leaves
  MonoTime last_busy_{};
  MonoTime looked_{};  // when wake sources were last looked at
  MonoTime retry_at_ = MonoTime::never();
  MonoTime announce_at_{};
  uint32_t announced_ = 0;
  Duration nap_ = {};
  TransportCounters counters_;
};

}  // namespace penstock
