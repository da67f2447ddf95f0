// What goes out: data by the windows (RFC 9293 section 3.8.6, RFC 5681), what is lost again (RFC 6675), control
// segments.
//
// Nothing is buffered: a segment's payload is a list of references into send pieces, cut anew each time.
#include "src/net/net_stack.h"
#include "src/net/wire/byte_order.h"

namespace penstock {
namespace {

constexpr uint32_t SEGMENTS_PER_TURN = 128;  // of one connection

}  // namespace

// Where the device is full the rest waits, before what is queued meanwhile: a frame that it does not take would be sent
// again a timeout later, and thousands of connections would have their timeouts together.
void NetStack::flush_output() {
  uint32_t index = output_head_;
  const uint32_t last = output_tail_;
  output_head_ = output_tail_ = NO_INDEX;
  while (index != NO_INDEX) {
    if (ip_.must_wait()) [[unlikely]] {
      by_index(last).next_output = output_head_;
      if (output_head_ == NO_INDEX) output_tail_ = last;
      output_head_ = index;
      return;
    }
    TcpConnection& c = by_index(index);
    index = c.next_output;
    if (index != NO_INDEX) bring_near(by_index(index));
    c.next_output = NO_INDEX;
    c.unset(IN_OUTPUT);
    if (c.state != TcpState::CLOSED) {
      output(c);
    } else {
      free_if_done(c);
    }
  }
}

// Where many wait, the next one's first part is near already, by the call before this: what it will send, and who comes
// behind it.
void NetStack::bring_near(const TcpConnection& next) {
  if (next.una_piece != NO_INDEX) pieces_.prefetch(next.una_piece);
  if (next.next_output != NO_INDEX) connections_.prefetch(next.next_output);
}

void NetStack::output(TcpConnection& c) {
  if (c.has(NEED_SYN)) send_syn(c);
  switch (c.state) {
    case TcpState::ESTABLISHED:
    case TcpState::CLOSE_WAIT:
    case TcpState::FIN_WAIT_1:
    case TcpState::CLOSING:
    case TcpState::LAST_ACK:
      if (c.has(IN_RECOVERY) && c.scoreboard != NO_INDEX) {
        output_recovery(c, scoreboards_[c.scoreboard].board);
      } else {
        output_new(c);
      }
      set_send_timer(c);
      break;
    default:
      break;
  }
  if (c.has(NEED_ACK) && c.state != TcpState::SYN_SENT && c.state != TcpState::SYN_RECEIVED)
    (void)send_bare(c, bare_seq(c), TCP_ACK);
  arm(c);
}

void NetStack::output_new(TcpConnection& c) {
  if (c.has(IN_RECOVERY) && c.high_rxt == c.snd_una) {  // without SACK: the first hole, once per partial ACK
    const uint32_t bytes = c.snd_una < c.snd_end ? std::min<uint32_t>(c.mss, seq_bytes(c.snd_una, c.snd_end)) : 0;
    const bool fin = c.fin_sent() && c.snd_una + bytes == c.snd_end;
    const uint32_t done =
        bytes != 0 ? send_data(c, c.snd_una, bytes, fin) : (send_bare(c, c.snd_una, TCP_FIN | TCP_ACK) ? 1 : 0);
    if (done == 0) return;
    ++counters_.segments_retransmitted;
    c.high_rxt = c.snd_una + done;
  }
  // RFC 3042: the first two duplicate ACKs let a new segment each go.
  uint32_t cwnd = c.congestion.cwnd;
  if (!c.has(IN_RECOVERY)) cwnd += std::min<uint32_t>(c.dup_acks, 2) * c.mss;
  const SeqNum edge = c.snd_una + std::min(cwnd, c.snd_wnd);
  for (uint32_t left = SEGMENTS_PER_TURN; left != 0 && !ip_.must_wait();) {
    const uint32_t segments = send_next(c, edge, true);
    if (segments == 0) return;
    left -= std::min(left, segments);
  }
  want_output(c);  // others first
}

// RFC 6675 section 5: as long as the pipe has room, NextSeg().
void NetStack::output_recovery(TcpConnection& c, SackScoreboard& board) {
  uint32_t pipe = board.pipe(c.snd_una, c.snd_max, c.high_rxt, c.mss);
  for (uint32_t i = 0; i < SEGMENTS_PER_TURN && !ip_.must_wait(); ++i) {
    const bool first = c.high_rxt == c.snd_una;  // (4.3): whatever the pipe says
    if (!first && pipe + c.mss > c.congestion.cwnd) return;
    const SeqNum from = seq_max(c.high_rxt, c.snd_una);
    const auto hole = board.next_hole(from);
    if (hole && (first || board.is_lost(hole->begin, c.mss))) {  // rule 1
      const uint32_t done =
          send_data(c, hole->begin, std::min<uint32_t>(c.mss, seq_bytes(hole->begin, hole->end)), false);
      if (done == 0) return;
      ++counters_.segments_retransmitted;
      c.high_rxt = hole->begin + done;
      pipe += done;
      continue;
    }
    if (first) c.high_rxt = c.snd_una + 1;  // nothing to send again: once is enough
    const SeqNum before = c.snd_nxt;
    if (send_next(c, c.snd_una + c.snd_wnd, false) != 0) {  // rule 2
      pipe += seq_bytes(before, c.snd_nxt);
      continue;
    }
    if (!hole) return;
    const uint32_t done =
        send_data(c, hole->begin, std::min<uint32_t>(c.mss, seq_bytes(hole->begin, hole->end)), false);  // rule 3
    if (done == 0) return;
    ++counters_.segments_retransmitted;
    c.high_rxt = hole->begin + done;
    pipe += done;
  }
  want_output(c);
}

// The segment at SND.NXT, as far as `edge` allows; with `large` several at once, where the port cuts them and none was
// sent before. Returns how many; 0: nothing was sent.
uint32_t NetStack::send_next(TcpConnection& c, SeqNum edge, bool large) {
  if (c.scoreboard != NO_INDEX && c.snd_nxt < c.snd_max)
    c.snd_nxt = scoreboards_[c.scoreboard].board.skip_received(c.snd_nxt);
  const int32_t room = edge - c.snd_nxt;
  if (c.snd_nxt >= c.snd_end) {
    // A FIN may go into a closed window: it asks for no buffer.
    if (!c.has(FIN_QUEUED) || c.snd_nxt != c.snd_end || (room < 1 && c.snd_una != c.snd_nxt)) return 0;
    if (!send_bare(c, c.snd_nxt, TCP_FIN | TCP_ACK)) return 0;
    sent(c, c.snd_nxt, 1);
    return 1;
  }
  if (room <= 0) return 0;
  const uint32_t queued = seq_bytes(c.snd_nxt, c.snd_end);
  uint32_t bytes = std::min({queued, static_cast<uint32_t>(room), uint32_t{c.mss}});
  if (large && bytes == c.mss && c.snd_nxt == c.snd_max)
    bytes = large_bytes(c, std::min(queued, static_cast<uint32_t>(room)), queued);
  // RFC 9293 section 3.8.6.2.1: no silly segments; the persist timer overrides.
  const bool silly = bytes < c.mss && bytes < queued && c.snd_nxt == c.snd_max && bytes < c.max_snd_wnd / 2;
  if (silly && c.snd_wnd < c.congestion.cwnd) return 0;
  if (silly && c.flight() != 0) return 0;
  const bool fin = c.has(FIN_QUEUED) && bytes == queued && static_cast<uint32_t>(room) > bytes;
  const uint32_t done = send_data(c, c.snd_nxt, bytes, fin);
  if (done == 0) return 0;
  sent(c, c.snd_nxt, done + (fin && done == bytes ? 1 : 0));
  return done <= c.mss ? 1 : (done - 1) / c.mss + 1;
}

// Of `bytes` that may go, how many go in one frame: full segments as far as the port takes them, and what is left
// behind these only where nothing follows it. REQUIRES: `bytes` >= MSS.
uint32_t NetStack::large_bytes(const TcpConnection& c, uint32_t bytes, uint32_t queued) const {
  const DeviceFeatures& port = ip_.features();
  const uint32_t most = std::min(
      {bytes, c.tuple.local.is_v4() ? port.tx_large_v4_bytes : port.tx_large_v6_bytes, TxFrame::SEGMENTS_MAX * c.mss});
  if (most < 2U * c.mss && most != queued) return c.mss;
  return most == queued ? most : most / c.mss * c.mss;
}

// `length` numbers from SND.NXT went out.
void NetStack::sent(TcpConnection& c, SeqNum seq, uint32_t length) {
  if (seq < c.snd_max) {
    ++counters_.segments_retransmitted;
  } else if (!c.has(RTT_TIMING)) {
    c.set(RTT_TIMING);
    c.rtt_seq = seq;
    c.rtt_started = now_;
  }
  c.snd_nxt = seq + length;
  c.snd_max = seq_max(c.snd_max, c.snd_nxt);
  if (c.has(PERSISTING)) {
    c.unset(PERSISTING);
    c.rtx_due = MonoTime::never();
  }
  if (c.rtx_due == MonoTime::never()) c.rtx_due = now_ + microseconds(c.rtt.rto_us);  // RFC 6298 (5.1)
  if (c.fin_sent()) {
    if (c.state == TcpState::ESTABLISHED) c.state = TcpState::FIN_WAIT_1;
    if (c.state == TcpState::CLOSE_WAIT) c.state = TcpState::LAST_ACK;
  }
}

// References to at most `bytes_max` bytes from `seq`, and their sum where the port makes none. Segments are cut at the
// strides of sums that are known.
NetStack::Payload NetStack::gather(TcpConnection& c, SeqNum seq, uint32_t bytes_max, std::span<TxPart> room) {
  const bool large = bytes_max > c.mss;
  Payload out;
  out.sum_later = large || ip_.features().tx_tcp_checksum;
  uint32_t index = c.una_piece;
  uint32_t offset = c.una_offset + seq_bytes(c.snd_una, seq);
  while (index != NO_INDEX && offset >= pieces_[index].size) {
    offset -= pieces_[index].size;
    index = pieces_[index].next;
  }
  size_t count = 0;
  for (; index != NO_INDEX && out.bytes < bytes_max && count < room.size(); index = pieces_[index].next, offset = 0) {
    const SendPiece& piece = pieces_[index];
    uint32_t bytes = std::min(piece.size - offset, bytes_max - out.bytes);
    if (!out.sum_later) {
      InternetSum part;
      const uint32_t stride_left =
          piece.sums == nullptr ? 0 : std::min(piece.stride - offset % piece.stride, piece.size - offset);
      if (stride_left != 0 && stride_left <= c.mss) {
        if (out.bytes != 0 && stride_left > bytes) break;  // whole in the next segment
        bytes = std::min(bytes, stride_left);
      }
      if (stride_left == bytes && offset % piece.stride == 0) {
        part = {piece.sums[offset / piece.stride]};
        ++counters_.payload_sums_reused;
      } else {
        part = internet_sum({piece.data + offset, bytes});
        counters_.payload_bytes_summed += bytes;
      }
      out.sum = append_sum(out.sum, out.bytes, part);
    }
    room[count++] = {piece.data + offset, bytes, index};
    out.bytes += bytes;
    if (offset + bytes < piece.size) break;
  }
  if (large && out.bytes > c.mss) {
    out.segment_bytes = c.mss;
    // More parts than a frame has: the last segment would be a short one in the middle.
    for (uint32_t over = out.bytes < bytes_max ? out.bytes % c.mss : 0; over != 0;) {
      const uint32_t step = std::min(over, room[count - 1].size);
      over -= step;
      out.bytes -= step;
      room[count - 1].size -= step;
      if (room[count - 1].size == 0) --count;
    }
    if (out.bytes == c.mss) out.segment_bytes = 0;
  }
  out.parts = room.first(count);
  return out;
}

// A segment of at most `bytes_max` payload bytes from `seq`, or several in one frame, with FIN when all of them fit and
// `fin`. Returns how many payload bytes went; 0: the neighbour's address is not known yet.
uint32_t NetStack::send_data(TcpConnection& c, SeqNum seq, uint32_t bytes_max, bool fin) {
  std::array<TxPart, TxFrame::PARTS_MAX> room;
  const Payload payload = gather(c, seq, bytes_max, room);
  ASSERT(payload.bytes != 0);
  TcpHeader header{.seq = seq.value, .flags = TCP_ACK};
  if (seq + payload.bytes == c.snd_end) header.flags |= TCP_PSH;
  if (fin && payload.bytes == bytes_max) header.flags |= TCP_FIN;
  if (!emit(c, header, {}, payload)) return 0;
  counters_.payload_bytes_sent += payload.bytes;
  if (payload.segment_bytes != 0) ++counters_.large_segments_sent;
  return payload.bytes;
}

// SND.NXT as the RFC means it: behind the highest number sent, not where sending begins again after a timeout. For an
// acknowledgement in an old number is not looked at, and two ends that have both gone back would never hear each other.
// Within the peer's window, beyond which it takes nothing.
SeqNum NetStack::bare_seq(const TcpConnection& c) {
  const SeqNum edge = c.snd_una + c.snd_wnd;
  return c.fin_sent() || c.snd_max <= edge ? c.snd_max : edge;
}

bool NetStack::send_bare(TcpConnection& c, SeqNum seq, uint8_t flags) {
  TcpHeader header{.seq = seq.value, .flags = flags};
  TcpOptions options;
  if (flags == TCP_ACK) put_sack_blocks(c, options);
  return emit(c, header, options, {});
}

void NetStack::send_syn(TcpConnection& c) {
  const bool passive = c.state == TcpState::SYN_RECEIVED;
  if (!passive && c.state != TcpState::SYN_SENT) {
    c.unset(NEED_SYN);
    return;
  }
  TcpHeader header{.seq = c.iss.value, .flags = passive ? static_cast<uint8_t>(TCP_SYN | TCP_ACK) : TCP_SYN};
  TcpOptions options;
  options.mss = static_cast<uint16_t>(config_.addresses.mtu - TcpHeader::BYTES -
                                      (c.tuple.local.is_v4() ? IpHeader::V4_BYTES : IpHeader::V6_BYTES));
  options.sack_permitted = c.has(SACK_OK);
  options.has_window_scale = !passive || c.rcv_wscale != 0 || c.snd_wscale != 0;
  options.window_scale = c.rcv_wscale;
  const bool again = c.snd_max != c.iss;
  if (emit(c, header, options, {})) {
    c.unset(NEED_SYN);
    c.snd_nxt = c.snd_max = c.iss + 1;
    if (again) {
      c.unset(RTT_TIMING);
      ++counters_.segments_retransmitted;
    } else {
      c.set(RTT_TIMING);
      c.rtt_seq = c.iss;
      c.rtt_started = now_;
    }
  }
  if (c.rtx_due == MonoTime::never()) c.rtx_due = now_ + microseconds(c.rtt.rto_us);
}

// Adds what every segment of a connection carries: ports, ACK, window, timestamps. False: the neighbour's address is
// not known.
bool NetStack::emit(TcpConnection& c, TcpHeader& header, const TcpOptions& options, const Payload& payload) {
  const auto to = ip_.resolve(c.tuple.remote, connections_.handle_of(&c), now_);
  if (!to) {
    ++counters_.unresolved;
    return false;
  }
  header.source_port = c.tuple.local_port;
  header.destination_port = c.tuple.remote_port;
  TcpOptions all = options;
  if (c.has(TIMESTAMPS)) {
    all.has_timestamps = true;
    all.ts_val = ts_now(c);
    all.ts_ecr = c.state == TcpState::SYN_SENT ? 0 : c.ts_recent;
  }
  const bool syn = (header.flags & TCP_SYN) != 0;
  if ((header.flags & TCP_ACK) != 0) {
    header.ack = c.rcv_nxt.value;
    header.window = advertise(c, syn);
    c.last_ack_sent = c.rcv_nxt;
    c.unset(NEED_ACK);
    c.ack_due = MonoTime::never();
  } else if (syn) {
    header.window = static_cast<uint16_t>(std::min<uint32_t>(config_.limits.receive_window_bytes, UINT16_MAX));
  }
  emit_to(*to, c.tuple, header, all, payload);
  return true;
}

void NetStack::emit_to(const MacAddress& to, const TcpTuple& tuple, TcpHeader& header, const TcpOptions& options,
                       const Payload& payload) {
  std::array<uint8_t, TcpHeader::BYTES_MAX> head;
  const size_t bytes = write_tcp(head.data(), header, options);
  IpLayer::Payload out = payload;
  out.sum_later |= ip_.features().tx_tcp_checksum;
  // The length of a segment that is yet to be cut is added by who cuts it.
  const uint32_t length = payload.segment_bytes != 0 ? 0 : static_cast<uint32_t>(bytes + payload.bytes);
  InternetSum sum = pseudo_header_sum(tuple.local, tuple.remote, IP_PROTOCOL_TCP, length);
  if (out.sum_later) {
    store_be16(&head[TCP_CHECKSUM_OFFSET], sum.value);
  } else {
    sum = sum + internet_sum({head.data(), bytes}) + payload.sum;  // the head's size is even
    store_be16(&head[TCP_CHECKSUM_OFFSET], checksum_of(sum));
  }
  ip_.send(to, {.source = tuple.local, .destination = tuple.remote, .protocol = IP_PROTOCOL_TCP, .hop_limit = 64},
           {head.data(), bytes}, out);
}

// RFC 5961 section 7: with a limit, lest somebody makes us send them without end.
void NetStack::challenge(TcpConnection& c) {
  if (!challenge_limit_.allow(now_)) {
    ++counters_.challenge_acks_withheld;
    return;
  }
  ++counters_.challenge_acks_sent;
  (void)send_bare(c, bare_seq(c), TCP_ACK);
}

}  // namespace penstock
