// TcpConnection: the transmission control block of RFC 9293 section 3.3.1, in its words. Owned by the engine's pool.
//
// What every segment touches comes first and fits two cache lines (TcpHot); the rest is for handshakes, losses and
// timers.
#pragma once

#include "src/base/handle.h"
#include "src/base/timer_wheel.h"
#include "src/net/congestion.h"
#include "src/net/index_pool.h"
#include "src/net/rtt_estimator.h"
#include "src/net/seq_num.h"
#include "src/net/tcp_tuple.h"

#include <cstdint>

namespace penstock {

// LISTEN is a row of the listeners' table, not a connection.
enum class TcpState : uint8_t {
  CLOSED,
  SYN_SENT,
  SYN_RECEIVED,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  CLOSE_WAIT,
  CLOSING,
  LAST_ACK,
  TIME_WAIT
};

// Bits of TcpHot::flags.
enum TcpFlag : uint32_t {
  // Agreed on in the handshake.
  TIMESTAMPS = 1U << 0,
  SACK_OK = 1U << 1,
  // What the next output has to send, whatever else.
  NEED_ACK = 1U << 2,
  NEED_SYN = 1U << 3,
  FIN_QUEUED = 1U << 4,    // our FIN goes out behind the last byte queued
  FIN_SEEN = 1U << 5,      // the peer's FIN is at fin_seq
  FIN_TAKEN = 1U << 6,     // … and RCV.NXT is behind it
  IN_RECOVERY = 1U << 7,   // fast recovery, until `recover` is acknowledged
  RTO_RECOVERY = 1U << 8,  // after a timeout, until then: no fast recovery
  RTT_TIMING = 1U << 9,    // rtt_seq is being timed
  PERSISTING = 1U << 10,   // the retransmission timer is the persist timer
  RECEIVING_OFF = 1U << 11,
  // The owner.
  OWNED = 1U << 12,    // from ACCEPTED or connect() to close()
  PASSIVE = 1U << 13,  // begun by the peer
  // Events that are due.
  TELL_ACCEPTED = 1U << 14,
  TELL_CONNECTED = 1U << 15,
  TELL_PEER_CLOSED = 1U << 16,
  TELL_FAILED = 1U << 17,
  TELL_CLOSED = 1U << 18,
  // Lists that it is in.
  IN_READY = 1U << 19,
  IN_OUTPUT = 1U << 20,
  HALF_OPEN = 1U << 21,  // counted as such
  IN_TIME_WAIT = 1U << 22,
};

struct alignas(64) TcpHot {
  SeqNum snd_una;
  SeqNum snd_nxt;
  SeqNum snd_max;  // behind the highest ever sent; SND.NXT goes back to SND.UNA after a timeout
  SeqNum snd_end;  // behind the last byte queued
  SeqNum snd_wl1;
  SeqNum snd_wl2;
  uint32_t snd_wnd = 0;
  SeqNum rcv_nxt;
  SeqNum rcv_adv;         // right edge that was advertised: RCV.NXT + RCV.WND
  SeqNum last_ack_sent;   // RFC 7323
  uint32_t rcv_held = 0;  // bytes in order that the owner has not released
  uint32_t ts_recent = 0;
  uint32_t ts_offset = 0;  // of our timestamp clock
  uint32_t flags = 0;
  // Send pieces, oldest first; those before una_piece are acknowledged but still read by the device.
  uint32_t piece_head = NO_INDEX;
  uint32_t piece_tail = NO_INDEX;
  uint32_t una_piece = NO_INDEX;
  uint32_t una_offset = 0;  // of SND.UNA in it
  // Receive holds: in order and waiting for the owner; out of order.
  uint32_t ready_head = NO_INDEX;
  uint32_t ready_tail = NO_INDEX;
  uint32_t out_of_order = NO_INDEX;
  uint32_t scoreboard = NO_INDEX;
  void* context = nullptr;
  uint32_t next_ready = NO_INDEX;   // list of connections with events
  uint32_t next_output = NO_INDEX;  // … with something to send
  uint32_t last_heard_ms = 0;
  uint16_t mss = 0;  // payload bytes of a full segment, options of every segment taken off
  uint16_t hold_count = 0;
  TcpState state = TcpState::CLOSED;
  uint8_t snd_wscale = 0;
  uint8_t rcv_wscale = 0;
  uint8_t dup_acks = 0;
};
static_assert(sizeof(TcpHot) == 128, "the hot part is two cache lines");

// What the timer wheel gives back when it fires.
struct TcpTimer : Timer {
  uint32_t conn = NO_INDEX;
  MonoTime due = MonoTime::never();
};

struct TcpConnection : TcpHot {
  TcpTuple tuple;
  uint16_t mtu = 0;  // of the path, as far as it is known
  uint8_t retries = 0;
  uint8_t probes = 0;  // keep-alive probes without an answer
  uint32_t max_snd_wnd = 0;
  RttEstimator rtt;
  CongestionState congestion;
  TcpTimer timer;                         // fires at or before the first of these
  MonoTime rtx_due = MonoTime::never();   // retransmission or persist
  MonoTime ack_due = MonoTime::never();   // delayed ACK
  MonoTime long_due = MonoTime::never();  // keep-alive, TIME-WAIT, stuck
  MonoTime rtt_started;
  SeqNum rtt_seq;
  SeqNum iss;
  SeqNum irs;
  SeqNum fin_seq;
  SeqNum recover;
  SeqNum high_rxt;
  SeqNum last_out_of_order;  // where the latest segment out of order lies (RFC 2018: reported first)
  uint32_t progress_ms = 0;  // when something was last acknowledged
  uint32_t challenged_ms = 0;
  uint32_t done_head = NO_INDEX;  // pieces whose SENT is due
  uint32_t done_tail = NO_INDEX;
  uint32_t time_wait_prev = NO_INDEX;
  uint32_t time_wait_next = NO_INDEX;
  uint32_t listener_id = 0;
  int32_t error = 0;
  uint16_t out_of_order_count = 0;
  uint16_t peer_mss = 0;

  [[nodiscard]] bool has(uint32_t bits) const { return (flags & bits) != 0; }
  void set(uint32_t bits) { flags |= bits; }
  void unset(uint32_t bits) { flags &= ~bits; }
  [[nodiscard]] uint32_t flight() const { return seq_bytes(snd_una, snd_max); }
  [[nodiscard]] bool fin_sent() const { return snd_max > snd_end; }
};
static_assert(sizeof(TcpConnection) <= 448, "a million idle connections at 512 bytes each, the table's share included");

// A piece of memory that is to be sent, or is sent and not yet acknowledged.
struct alignas(64) SendPiece {
  const uint8_t* data = nullptr;
  const uint16_t* sums = nullptr;
  uint64_t token = 0;
  uint32_t size = 0;
  uint32_t stride = 0;
  uint32_t next = NO_INDEX;
  uint32_t conn = NO_INDEX;
  uint32_t device_holds = 0;  // frames at the device that refer to it
  bool last = false;          // of its send(): SENT follows
};

// A frame whose payload is kept: out of order, waiting for the owner, or lent to it.
struct ReceiveHold {
  const uint8_t* data = nullptr;
  uint32_t size = 0;
  uint32_t frame = 0;  // the device's token
  SeqNum seq;
  uint32_t next = NO_INDEX;
  Handle conn;
};

}  // namespace penstock
