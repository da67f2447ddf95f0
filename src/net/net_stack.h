// NetStack: our TCP/IP (RFC 9293 and what belongs to it), pure: frames and `now` in, events, frames and the next
// deadline out.
//
// A reactor owns one, on one PacketDevice; one thread. No system call, no clock, no DPDK, no allocation after
// construction, and nobody is called back. The turn is that of transport/transport.h: poll() takes what came in and
// gives a batch of events, the owner reacts by send(), release(), close() …, submit() (or the next poll()) sends what
// follows from it.
//
// Nothing is copied. A RECEIVED event lends the frame's own bytes until release(); a sent part is referred to until the
// peer has acknowledged it, and what is lost is cut from it again. So memory given to send() must stay until SENT,
// FAILED or CLOSED.
//
// Life of a connection: a Handle is born in ACCEPTED or by connect() and dies in close() or reset(); using a dead one
// is a bug (asserted), but for is_open(). After FAILED only close() may be called. After close() what was queued is
// still delivered.
#pragma once

#include "src/base/fixed_pool.h"
#include "src/base/inplace_vector.h"
#include "src/net/connection_table.h"
#include "src/net/frame_taker.h"
#include "src/net/ip_layer.h"
#include "src/net/net_event.h"
#include "src/net/port_handover.h"
#include "src/net/sack_scoreboard.h"
#include "src/net/syn_admission.h"
#include "src/net/tcp_segment.h"
#include "src/net/wire/checksum.h"

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <vector>

namespace penstock {

class NetStack {
 public:
  static constexpr size_t SEND_PARTS_MAX = 32;
  static constexpr size_t LISTENERS_MAX = 64;
  static constexpr uint16_t MSS_MIN = 64;  // a peer that asks for less gets this: tinier segments are an attack

  NetStack(const NetConfig& config, PacketDevice& device, MonoTime now);
  ~NetStack();
  NetStack(const NetStack&) = delete;
  NetStack& operator=(const NetStack&) = delete;

  // Takes what has come in and what is due, sends what follows, and writes up to out.size() events; returns how many.
  [[nodiscard]] size_t poll(MonoTime now, std::span<NetEvent> out);
  // Sends what the owner's calls since poll() have queued.
  void submit();
  // Something waits to be sent, be it that the device has no room.
  [[nodiscard]] bool has_output() const { return output_head_ != NO_INDEX; }
  // Tells the link that our addresses are here; with the next submit(). At the start, and once more.
  void announce() { ip_.announce(); }
  // When poll() is worth calling though no frame comes in.
  [[nodiscard]] MonoTime next_deadline() const;

  // On our address of that version, or of both. False: no room for another, or the port is taken.
  enum class ListenOn : uint8_t { BOTH, V4, V6 };
  [[nodiscard]] bool listen(uint16_t port, uint32_t id, ListenOn on = ListenOn::BOTH);
  void stop_listening(uint32_t id);
  // The port is shared: what is not ours goes to `others`, and what is of use to both as well (frame_owner.h). Before
  // the first poll(); `others` outlives the engine.
  void share(FrameTaker& others);
  // A SYN to a port without a listener is dropped instead of refused: the peer repeats it, and somebody else may listen
  // then. On a shared port only where a listener has been, since the other ports are not ours.
  void set_succession(bool on) { succession_ = on; }
  [[nodiscard]] size_t listener_count() const { return listener_count_; }
  // At any time. At first NONE.
  void set_handover(PortHandover handover);
  // A peer may still end a handshake, or has not yet acknowledged all of an end: what an engine that leaves waits for.
  [[nodiscard]] bool has_unsettled() const { return connections_.count() != time_wait_ || now_ < cookies_until_; }
  // SYNs are dropped meanwhile; the peer repeats them.
  void pause_accept(bool paused) { accept_paused_ = paused; }
  // At most so many ACCEPTED follow until it is called again; SYNs beyond that are dropped as in a pause.
  void set_accept_room(uint32_t connections) { accept_room_ = connections; }
  // Begins a connection: CONNECTED or FAILED follows. `local_port` 0: one that is free. An invalid handle: no slot, no
  // free port, or we do not speak that version (counted).
  [[nodiscard]] Handle connect(const IpAddress& remote, uint16_t remote_port, uint16_t local_port = 0);

  [[nodiscard]] bool is_open(Handle conn) const;
  // REQUIRES for all below that take `conn`: is_open(conn).
  void set_context(Handle conn, void* context) { at(conn).context = context; }
  [[nodiscard]] const TcpTuple& tuple(Handle conn) const { return at(conn).tuple; }
  // Queues `parts`, all or none of them. SENT with `token` follows when they are acknowledged. False: too many pieces
  // are on the way, here or in all; try again after the next SENT. REQUIRES: no shutdown_send() before, 1 ≤
  // parts.size() ≤ SEND_PARTS_MAX.
  [[nodiscard]] bool send(Handle conn, std::span<const NetPart> parts, uint64_t token);
  // REQUIRES: each buffer of a RECEIVED event once; also after its connection died.
  void release(uint32_t buffer);
  // Back-pressure: with false no RECEIVED is handed out, and the window closes.
  void set_receiving(Handle conn, bool on);
  // FIN after all that was queued; receiving goes on.
  void shutdown_send(Handle conn);
  // shutdown_send(), and the connection is no longer the owner's. Data that comes in from here on is answered by RST.
  // True: a CLOSED event with the context follows when the queued memory is free; false: it is free now.
  bool close(Handle conn);
  // Ends it at once, by RST.
  bool reset(Handle conn);
  [[nodiscard]] uint64_t unacknowledged_bytes(Handle conn) const;
  [[nodiscard]] TcpState state(Handle conn) const { return at(conn).state; }

  [[nodiscard]] const NetCounters& counters() const { return counters_; }
  // What is lent out: all are 0 in an engine at rest.
  struct Lent {
    uint32_t connections, half_open, time_wait, pieces, holds, scoreboards;
    bool operator==(const Lent&) const = default;
  };
  [[nodiscard]] Lent lent() const;

 private:
  // Frames of one turn. More would save little, and cost much: their answers go out together, when the last of them is
  // made, and whoever waits for them at the other end does nothing until then.
  static constexpr size_t BURST = 32;

  struct Scoreboard {
    SackScoreboard board;
    uint32_t next = NO_INDEX;
  };
  // What a segment carries, or a frame that the port cuts into several.
  struct Payload : IpLayer::Payload {
    uint32_t bytes = 0;
    InternetSum sum;  // of all parts, unless sum_later
  };
  struct Listener {
    uint16_t port;
    ListenOn on;
    uint32_t id;
    [[nodiscard]] bool meets(uint16_t other_port, ListenOn other) const {
      return port == other_port && (on == other || on == ListenOn::BOTH || other == ListenOn::BOTH);
    }
  };

  // net_stack.cc: the turn, the events, the owner's calls.
  [[nodiscard]] TcpConnection& at(Handle conn);
  [[nodiscard]] const TcpConnection& at(Handle conn) const;
  [[nodiscard]] TcpConnection& by_index(uint32_t index) { return *connections_.at(index); }
  [[nodiscard]] uint32_t index_of(const TcpConnection& c) const { return connections_.handle_of(&c).index; }
  [[nodiscard]] Handle begin_connect(const IpAddress& remote, uint16_t remote_port, uint16_t local_port);
  size_t deliver(std::span<NetEvent> out);
  bool next_event(TcpConnection& c, NetEvent& event);
  void tell(TcpConnection& c, uint32_t bits = 0);
  bool end(TcpConnection& c, bool with_reset);
  void want_output(TcpConnection& c, uint32_t bits = 0);

  // tcp_lifetime.cc: slots, pools, ends.
  [[nodiscard]] TcpConnection* make_connection(const TcpTuple& tuple);
  void set_mss(TcpConnection& c);
  void fail(TcpConnection& c, int error);
  void become_closed(TcpConnection& c);
  void become_established(TcpConnection& c);
  void enter_time_wait(TcpConnection& c);
  void leave_time_wait_list(TcpConnection& c);
  void forget_half_open(TcpConnection& c);
  void free_if_done(TcpConnection& c);
  void reap_pieces(TcpConnection& c);
  void give_scoreboard(TcpConnection& c);
  void give_hold(uint32_t index);
  void give_holds(uint32_t& head);
  [[nodiscard]] TcpConnection* find(const TcpTuple& tuple) { return find(tuple, tuple.keyed_hash(config_.secret)); }
  [[nodiscard]] TcpConnection* find(const TcpTuple& tuple, uint64_t hash);

  // look_ahead.cc: what a burst will look up is brought near before the first of its frames is handled.
  void look_ahead(size_t frames);
  [[nodiscard]] uint64_t hash_of(const RxFrame& frame) const;

  // tcp_input.cc: segment arrives (RFC 9293 section 3.10.7), in its order.
  void receive_frame(const RxFrame& frame, uint64_t hash);
  [[nodiscard]] DropReason hand_on(const RxFrame& frame, const IpLayer::Arrival& arrival, DropReason drop);
  [[nodiscard]] DropReason receive_tcp(const RxFrame& frame, const IpLayer::Arrival& arrival, uint64_t hash);
  [[nodiscard]] DropReason segment_arrives(TcpConnection& c, TcpSegment& segment);
  [[nodiscard]] bool fast_path(TcpConnection& c, const TcpSegment& segment, std::span<const uint8_t> bytes);
  [[nodiscard]] DropReason syn_sent_arrives(TcpConnection& c, TcpSegment& segment);
  [[nodiscard]] DropReason restart_from_time_wait(TcpConnection& c, const TcpSegment& segment);
  void our_fin_acknowledged(TcpConnection& c);
  [[nodiscard]] DropReason take_text(TcpConnection& c, const TcpSegment& segment);
  [[nodiscard]] DropReason check_sequence(TcpConnection& c, TcpSegment& segment);
  [[nodiscard]] DropReason check_reset(TcpConnection& c, const TcpSegment& segment);
  [[nodiscard]] DropReason check_ack(TcpConnection& c, const TcpSegment& segment);
  void take_fin(TcpConnection& c);
  [[nodiscard]] DropReason receive_icmp_error(const IpLayer::Arrival& arrival);

  // tcp_listen.cc: CLOSED and LISTEN, SYN cookies.
  [[nodiscard]] const Listener* listener_for(const TcpTuple& tuple) const;
  [[nodiscard]] static const Listener* listener_of(std::span<const Listener> listeners, const TcpTuple& tuple);
  [[nodiscard]] DropReason silent_arrives(const TcpTuple& tuple, const TcpSegment& segment);
  [[nodiscard]] DropReason refuse(const TcpTuple& tuple, const TcpSegment& segment, DropReason drop);
  [[nodiscard]] DropReason forget(TcpConnection& c);
  [[nodiscard]] DropReason unheard_arrives(const TcpTuple& tuple, const TcpSegment& segment);
  [[nodiscard]] DropReason closed_arrives(const TcpTuple& tuple, const TcpSegment& segment);
  [[nodiscard]] DropReason syn_arrives(const TcpTuple& tuple, const TcpSegment& segment, uint32_t listener_id,
                                       SeqNum iss_after, bool reused);
  void send_cookie(const TcpTuple& tuple, const TcpSegment& segment);
  [[nodiscard]] TcpConnection* accept_cookie(const TcpTuple& tuple, const TcpSegment& segment, uint32_t listener_id);
  [[nodiscard]] bool time_wait_gives_way(const TcpConnection& c, const TcpSegment& segment) const;
  void take_syn_options(TcpConnection& c, const TcpSegment& segment);
  void reply_reset(const TcpTuple& tuple, const TcpSegment& segment);

  // tcp_receive.cc: data in order and out of order, windows, ACKs.
  [[nodiscard]] DropReason take_data(TcpConnection& c, const TcpSegment& segment);
  [[nodiscard]] DropReason hold_out_of_order(TcpConnection& c, SeqNum seq, std::span<const uint8_t> data);
  [[nodiscard]] uint32_t take_hold(TcpConnection& c, SeqNum seq, std::span<const uint8_t> data);
  void append_ready(TcpConnection& c, uint32_t hold);
  void pull_out_of_order(TcpConnection& c);
  void schedule_ack(TcpConnection& c, uint32_t bytes);
  [[nodiscard]] uint32_t window_edge_gain(const TcpConnection& c) const;
  [[nodiscard]] uint16_t advertise(TcpConnection& c, bool syn);
  void put_sack_blocks(const TcpConnection& c, TcpOptions& options) const;

  // tcp_ack.cc: what an ACK tells the sender.
  void process_ack(TcpConnection& c, const TcpSegment& segment);
  void acknowledge(TcpConnection& c, SeqNum ack, bool has_ts_ecr, uint32_t ts_ecr);
  void take_rtt(TcpConnection& c, SeqNum ack, bool has_ts_ecr, uint32_t ts_ecr);
  [[nodiscard]] uint32_t take_sacks(TcpConnection& c, const TcpSegment& segment);
  void duplicate_ack(TcpConnection& c);
  void enter_recovery(TcpConnection& c);
  void partial_ack(TcpConnection& c, uint32_t acked);

  // tcp_output.cc: what goes out.
  void flush_output();
  void bring_near(const TcpConnection& next);
  void output(TcpConnection& c);
  uint32_t send_next(TcpConnection& c, SeqNum edge, bool large);
  [[nodiscard]] uint32_t large_bytes(const TcpConnection& c, uint32_t bytes, uint32_t queued) const;
  void output_new(TcpConnection& c);
  void output_recovery(TcpConnection& c, SackScoreboard& board);
  void sent(TcpConnection& c, SeqNum seq, uint32_t length);
  uint32_t send_data(TcpConnection& c, SeqNum seq, uint32_t bytes_max, bool fin);
  [[nodiscard]] static SeqNum bare_seq(const TcpConnection& c);
  bool send_bare(TcpConnection& c, SeqNum seq, uint8_t flags);
  void send_syn(TcpConnection& c);
  [[nodiscard]] Payload gather(TcpConnection& c, SeqNum seq, uint32_t bytes_max, std::span<TxPart> room);
  bool emit(TcpConnection& c, TcpHeader& header, const TcpOptions& options, const Payload& payload);
  void emit_to(const MacAddress& to, const TcpTuple& tuple, TcpHeader& header, const TcpOptions& options,
               const Payload& payload);
  void challenge(TcpConnection& c);
  [[nodiscard]] uint32_t ts_now(const TcpConnection& c) const { return now_ms() + c.ts_offset; }
  [[nodiscard]] uint32_t now_ms() const { return static_cast<uint32_t>(now_.ns / 1'000'000); }

  // tcp_timers.cc
  void expire_timers();
  void on_retransmission_timer(TcpConnection& c);
  void on_long_timer(TcpConnection& c);
  void probe_window(TcpConnection& c);
  void set_send_timer(TcpConnection& c);
  void arm_delayed_acks();
  void arm(TcpConnection& c);

  NetConfig config_;
  PacketDevice& device_;
  NetCounters counters_;
  MonoTime now_;
  std::unique_ptr<CongestionControl> congestion_;
  FixedPool<TcpConnection> connections_;
  ConnectionTable table_;
  IndexPool<SendPiece> pieces_;
  IndexPool<ReceiveHold> holds_;
  IndexPool<Scoreboard> scoreboards_;
  IpLayer ip_;
  TimerWheel wheel_;
  RateLimit challenge_limit_;
  RateLimit reset_limit_;
  SynAdmission admission_;
  // Connections whose delayed ACK has no timer yet: the answer that takes the ACK along mostly comes within the turn.
  InplaceVector<uint32_t, BURST> unarmed_;
  std::array<RxFrame, BURST> rx_frames_;   // of a burst; not on the stack, where each turn would clear it
  std::array<uint64_t, BURST> rx_hashes_;  // of their socket pairs; 0: not known
  std::array<Listener, LISTENERS_MAX> listeners_;
  size_t listener_count_ = 0;
  std::array<Listener, LISTENERS_MAX> left_listeners_;  // the last ones that were let go: for cookies of theirs
  size_t left_count_ = 0;
  PortHandover handover_ = PortHandover::NONE;
  FrameTaker* others_ = nullptr;
  std::vector<bool> former_ports_;  // of a shared port: that had listeners and have none
  bool listened_ = false;
  bool accept_paused_ = false;
  bool succession_ = false;
  uint32_t accept_room_ = UINT32_MAX;
  bool frame_kept_ = false;   // the frame in hand is held by a ReceiveHold
  uint32_t frame_token_ = 0;  // its token
  MacAddress frame_from_;     // who sent it
  uint32_t half_open_ = 0;
  uint32_t time_wait_ = 0;
  uint32_t out_of_order_ = 0;           // holds out of order, of all connections
  uint32_t time_wait_head_ = NO_INDEX;  // oldest first
  uint32_t time_wait_tail_ = NO_INDEX;
  uint32_t ready_head_ = NO_INDEX;
  uint32_t ready_tail_ = NO_INDEX;
  uint32_t ready_count_ = 0;
  uint32_t output_head_ = NO_INDEX;
  uint32_t output_tail_ = NO_INDEX;
  uint16_t next_port_ = 0;
  MonoTime cookies_until_ = {};  // a cookie that was sent may still come back
};

}  // namespace penstock
