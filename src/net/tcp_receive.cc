// The receiving side: bytes in order to the owner, bytes out of order held (in the frames they came in), windows, ACKs.
//
// The out-of-order list is in order of sequence numbers and without overlap: what came first stays, what comes later is
// cut.
#include "src/net/net_stack.h"

namespace penstock {

uint32_t NetStack::take_hold(TcpConnection& c, SeqNum seq, std::span<const uint8_t> data) {
  const uint32_t index = holds_.take();
  if (index == NO_INDEX) return NO_INDEX;
  ReceiveHold& hold = holds_[index];
  hold.data = data.data();
  hold.size = static_cast<uint32_t>(data.size());
  hold.frame = frame_token_;
  hold.seq = seq;
  hold.conn = connections_.handle_of(&c);
  ++c.hold_count;
  frame_kept_ = true;
  return index;
}

void NetStack::append_ready(TcpConnection& c, uint32_t index) {
  ReceiveHold& hold = holds_[index];
  hold.next = NO_INDEX;
  if (c.ready_tail == NO_INDEX) {
    c.ready_head = index;
  } else {
    holds_[c.ready_tail].next = index;
  }
  c.ready_tail = index;
  c.rcv_nxt = c.rcv_nxt + hold.size;
  c.rcv_held += hold.size;
  if (!c.has(RECEIVING_OFF)) tell(c);
}

// REQUIRES: SEG.SEQ >= RCV.NXT, all of the data in the window.
DropReason NetStack::take_data(TcpConnection& c, const TcpSegment& segment) {
  std::span<const uint8_t> data = segment.data;
  if (c.has(FIN_SEEN)) {  // nothing comes after a FIN
    if (segment.seq >= c.fin_seq) return DropReason::TCP_OUT_OF_WINDOW;
    data = data.first(std::min<size_t>(data.size(), seq_bytes(segment.seq, c.fin_seq)));
  }
  if (segment.seq != c.rcv_nxt) {
    c.last_out_of_order = segment.seq;
    const DropReason drop = hold_out_of_order(c, segment.seq, data);
    // RFC 5681 section 4.2: at once, one for each, so that the sender can count them.
    (void)send_bare(c, bare_seq(c), TCP_ACK);
    ++counters_.duplicate_acks_sent;
    return drop;
  }
  if (c.out_of_order != NO_INDEX) {
    data = data.first(std::min<size_t>(data.size(), seq_bytes(segment.seq, holds_[c.out_of_order].seq)));
  }
  if (c.hold_count >= config_.limits.holds_per_connection_max) return DropReason::TCP_RECEIVE_FULL;
  const uint32_t hold = take_hold(c, segment.seq, data);
  if (hold == NO_INDEX) return DropReason::TCP_HOLDS_FULL;
  append_ready(c, hold);
  if (c.out_of_order != NO_INDEX) {
    pull_out_of_order(c);
    want_output(c, NEED_ACK);  // RFC 5681 section 4.2: a gap was filled
  } else {
    schedule_ack(c, static_cast<uint32_t>(data.size()));
  }
  return DropReason::NONE;
}

DropReason NetStack::hold_out_of_order(TcpConnection& c, SeqNum seq, std::span<const uint8_t> data) {
  // Half of the bounds stay for what is in order.
  if (c.hold_count >= config_.limits.holds_per_connection_max ||
      c.out_of_order_count >= config_.limits.holds_per_connection_max / 2 ||
      out_of_order_ >= config_.limits.receive_holds_max / 2) {
    return DropReason::TCP_REASSEMBLY_FULL;
  }
  uint32_t before = NO_INDEX;
  uint32_t after = c.out_of_order;
  while (after != NO_INDEX && holds_[after].seq <= seq) {
    before = after;
    after = holds_[after].next;
  }
  if (before != NO_INDEX) {
    const SeqNum end = holds_[before].seq + holds_[before].size;
    if (seq < end) {
      const uint32_t known = seq_bytes(seq, end);
      if (known >= data.size()) return DropReason::TCP_OLD_DUPLICATE;
      data = data.subspan(known);
      seq = end;
    }
  }
  // What lies beyond the next one held, if anything, comes again when it is missing.
  if (after != NO_INDEX) data = data.first(std::min<size_t>(data.size(), seq_bytes(seq, holds_[after].seq)));
  if (data.empty()) return DropReason::TCP_OLD_DUPLICATE;
  const uint32_t hold = take_hold(c, seq, data);
  if (hold == NO_INDEX) return DropReason::TCP_HOLDS_FULL;
  holds_[hold].next = after;
  if (before == NO_INDEX) {
    c.out_of_order = hold;
  } else {
    holds_[before].next = hold;
  }
  ++c.out_of_order_count;
  ++out_of_order_;
  return DropReason::NONE;
}

void NetStack::pull_out_of_order(TcpConnection& c) {
  while (c.out_of_order != NO_INDEX && holds_[c.out_of_order].seq == c.rcv_nxt) {
    if (c.has(FIN_SEEN) && c.fin_seq == c.rcv_nxt) return;
    const uint32_t hold = c.out_of_order;
    c.out_of_order = holds_[hold].next;
    --c.out_of_order_count;
    --out_of_order_;
    append_ready(c, hold);
  }
}

// RFC 9293 section 3.8.6.3, RFC 5681 section 4.2: every second segment at once, a single one soon.
void NetStack::schedule_ack(TcpConnection& c, uint32_t bytes) {
  if (c.ack_due != MonoTime::never() || bytes >= 2U * c.mss) {
    want_output(c, NEED_ACK);
    return;
  }
  c.ack_due = now_ + config_.times.delayed_ack;
  unarmed_.push_back(index_of(c));
}

// By how much the right edge of the window could move.
uint32_t NetStack::window_edge_gain(const TcpConnection& c) const {
  const uint32_t limit = config_.limits.receive_window_bytes;
  const uint32_t free = limit > c.rcv_held ? limit - c.rcv_held : 0;
  const SeqNum edge = c.rcv_nxt + free;
  return edge > c.rcv_adv ? seq_bytes(c.rcv_adv, edge) : 0;
}

// The window field. The edge never moves back (RFC 9293 SHLD-14), and forward only by enough to be of use (MUST-39).
uint16_t NetStack::advertise(TcpConnection& c, bool syn) {
  const uint32_t gain = window_edge_gain(c);
  if (gain >= std::min<uint32_t>(c.mss, config_.limits.receive_window_bytes / 2) || syn) c.rcv_adv = c.rcv_adv + gain;
  const uint32_t window = seq_bytes(c.rcv_nxt, c.rcv_adv);
  if (syn) {
    const uint32_t field = std::min<uint32_t>(window, UINT16_MAX);
    c.rcv_adv = c.rcv_nxt + field;
    return static_cast<uint16_t>(field);
  }
  // Rounded up, so that scaling does not move the edge back either.
  const uint32_t field = std::min<uint32_t>((window + (1U << c.rcv_wscale) - 1) >> c.rcv_wscale, UINT16_MAX);
  c.rcv_adv = c.rcv_nxt + std::max(field << c.rcv_wscale, window);
  return static_cast<uint16_t>(field);
}

// RFC 2018 section 4: the block of the latest arrival first, then the others.
void NetStack::put_sack_blocks(const TcpConnection& c, TcpOptions& options) const {
  if (!c.has(SACK_OK) || c.out_of_order == NO_INDEX) return;
  for (uint32_t i = c.out_of_order; i != NO_INDEX;) {
    SackBlock block{holds_[i].seq.value, (holds_[i].seq + holds_[i].size).value};
    for (i = holds_[i].next; i != NO_INDEX && holds_[i].seq.value == block.right; i = holds_[i].next) {
      block.right = (holds_[i].seq + holds_[i].size).value;
    }
    const bool latest = SeqNum{block.left} <= c.last_out_of_order && c.last_out_of_order < SeqNum{block.right};
    if (latest && options.sack_count != 0) {
      if (options.sack_count < TcpOptions::SACK_BLOCKS_MAX) options.sacks[options.sack_count++] = {};
      for (size_t k = options.sack_count - 1U; k > 0; --k) options.sacks[k] = options.sacks[k - 1];
      options.sacks[0] = block;
    } else if (options.sack_count < TcpOptions::SACK_BLOCKS_MAX) {
      options.sacks[options.sack_count++] = block;
    }
  }
}

}  // namespace penstock
