// Slots and pools: how a connection comes, and what must be given back when it goes.
#include "src/net/isn.h"
#include "src/net/net_stack.h"

#include <algorithm>
#include <cerrno>

namespace penstock {

TcpConnection* NetStack::find(const TcpTuple& tuple, uint64_t hash) {
  const uint32_t index = table_.find(hash, [&](uint32_t i) { return by_index(i).tuple == tuple; });
  return index == ConnectionTable::NONE ? nullptr : &by_index(index);
}

// In CLOSED, in the table, with nothing agreed on. nullptr at the limit: then even TIME-WAIT holds no slot that could
// be taken.
TcpConnection* NetStack::make_connection(const TcpTuple& tuple) {
  if (connections_.count() == connections_.count_max()) {
    for (uint32_t i = time_wait_head_; i != NO_INDEX && connections_.count() == connections_.count_max();
         i = time_wait_head_) {
      TcpConnection& oldest = by_index(i);
      ++counters_.time_wait_evicted;
      become_closed(oldest);
      free_if_done(oldest);
    }
  }
  TcpConnection* c = connections_.take();
  if (c == nullptr) return nullptr;
  c->tuple = tuple;
  c->ts_offset = timestamp_offset(config_.secret, tuple);
  c->mtu = config_.addresses.mtu;
  c->last_heard_ms = c->progress_ms = now_ms();
  while (c->rcv_wscale < TcpOptions::WINDOW_SCALE_MAX &&
         config_.limits.receive_window_bytes >> c->rcv_wscale > UINT16_MAX)
    ++c->rcv_wscale;
  table_.insert(tuple.keyed_hash(config_.secret), index_of(*c));
  return c;
}

// RFC 9293 section 3.7.1: of the peer's MSS (without options) and the path's MTU, less what options take from every
// segment.
void NetStack::set_mss(TcpConnection& c) {
  const bool v4 = c.tuple.local.is_v4();
  const uint32_t headers = static_cast<uint32_t>((v4 ? IpHeader::V4_BYTES : IpHeader::V6_BYTES) + TcpHeader::BYTES);
  const uint32_t ours = c.mtu - headers;
  const uint32_t theirs = c.peer_mss == 0 ? (v4 ? 536U : 1'220U) : std::max(c.peer_mss, MSS_MIN);
  uint32_t mss = std::min(ours, theirs);
  if (c.has(TIMESTAMPS)) mss -= static_cast<uint32_t>(TcpHeader::TIMESTAMP_BYTES);
  c.mss = static_cast<uint16_t>(mss);
}

void NetStack::forget_half_open(TcpConnection& c) {
  if (!c.has(HALF_OPEN)) return;
  c.unset(HALF_OPEN);
  --half_open_;
}

void NetStack::become_established(TcpConnection& c) {
  c.state = TcpState::ESTABLISHED;
  forget_half_open(c);
  c.retries = 0;
  c.rtx_due = MonoTime::never();
  c.progress_ms = now_ms();
  c.long_due = now_ + config_.times.keepalive_idle;
  set_mss(c);
  congestion_->start(c.congestion, c.mss);
  // RFC 6928 section 3.1: a lost SYN leaves one segment.
  if (c.rtt.rto_us > RttEstimator::INITIAL_RTO_US && c.rtt.srtt_us == 0) c.congestion.cwnd = c.mss;
  if (c.has(PASSIVE)) {
    ++counters_.connections_accepted;
    admission_.established();
    if (accept_room_ != UINT32_MAX && accept_room_ != 0) --accept_room_;
    c.set(OWNED);
    tell(c, TELL_ACCEPTED);
  } else {
    ++counters_.connections_opened;
    tell(c, TELL_CONNECTED);
  }
}

void NetStack::enter_time_wait(TcpConnection& c) {
  if (!c.has(IN_TIME_WAIT)) {
    c.set(IN_TIME_WAIT);
    ++time_wait_;
  } else {
    leave_time_wait_list(c);
  }
  c.state = TcpState::TIME_WAIT;
  const uint32_t index = index_of(c);
  c.time_wait_prev = time_wait_tail_;
  c.time_wait_next = NO_INDEX;
  if (time_wait_tail_ == NO_INDEX) {
    time_wait_head_ = index;
  } else {
    by_index(time_wait_tail_).time_wait_next = index;
  }
  time_wait_tail_ = index;
  give_scoreboard(c);
  c.rtx_due = MonoTime::never();
  c.long_due = now_ + config_.times.time_wait;
  arm(c);
}

void NetStack::leave_time_wait_list(TcpConnection& c) {
  if (c.time_wait_prev == NO_INDEX) {
    time_wait_head_ = c.time_wait_next;
  } else {
    by_index(c.time_wait_prev).time_wait_next = c.time_wait_next;
  }
  if (c.time_wait_next == NO_INDEX) {
    time_wait_tail_ = c.time_wait_prev;
  } else {
    by_index(c.time_wait_next).time_wait_prev = c.time_wait_prev;
  }
}

// Nothing of the protocol is left: no timer, no place in the table, no frames, no memory of the owner's but what the
// device reads.
void NetStack::become_closed(TcpConnection& c) {
  ASSERT(c.state != TcpState::CLOSED);
  table_.erase(c.tuple.keyed_hash(config_.secret), index_of(c));
  forget_half_open(c);
  if (c.has(IN_TIME_WAIT)) {
    leave_time_wait_list(c);
    c.unset(IN_TIME_WAIT);
    --time_wait_;
  }
  c.state = TcpState::CLOSED;
  c.rtx_due = c.ack_due = c.long_due = MonoTime::never();
  wheel_.disarm(c.timer);
  c.unset(NEED_ACK | NEED_SYN);
  out_of_order_ -= c.out_of_order_count;
  c.out_of_order_count = 0;
  give_holds(c.out_of_order);
  give_scoreboard(c);
  c.una_piece = NO_INDEX;
  reap_pieces(c);
}

void NetStack::fail(TcpConnection& c, int error) {
  if (c.has(OWNED) && !c.has(TELL_ACCEPTED)) {
    ++counters_.connections_failed;
    c.error = error;
    give_holds(c.ready_head);
    c.ready_tail = NO_INDEX;
    c.unset(TELL_CONNECTED | TELL_PEER_CLOSED);
    c.set(TELL_FAILED);
  } else if (c.has(OWNED)) {  // nobody has heard of it, and nobody will
    c.unset(OWNED | TELL_ACCEPTED | TELL_PEER_CLOSED);
    give_holds(c.ready_head);
    c.ready_tail = NO_INDEX;
  }
  become_closed(c);
  tell(c);  // free_if_done() there
}

void NetStack::free_if_done(TcpConnection& c) {
  if (c.state != TcpState::CLOSED || c.has(OWNED | IN_READY | IN_OUTPUT | TELL_CLOSED)) return;
  if (c.piece_head != NO_INDEX || c.done_head != NO_INDEX || c.ready_head != NO_INDEX) return;
  connections_.give(&c);
}

// Pieces before una_piece are the peer's; once the device has them no more either, they are the owner's again.
void NetStack::reap_pieces(TcpConnection& c) {
  bool told = false;
  while (c.piece_head != c.una_piece && pieces_[c.piece_head].device_holds == 0) {
    const uint32_t index = c.piece_head;
    SendPiece& piece = pieces_[index];
    c.piece_head = piece.next;
    if (c.piece_head == NO_INDEX) c.piece_tail = NO_INDEX;
    if (!piece.last || !c.has(OWNED) || c.state == TcpState::CLOSED) {
      pieces_.give(index);
      continue;
    }
    piece.next = NO_INDEX;
    if (c.done_tail == NO_INDEX) {
      c.done_head = index;
    } else {
      pieces_[c.done_tail].next = index;
    }
    c.done_tail = index;
    told = true;
  }
  if (told || (c.piece_head == NO_INDEX && c.has(TELL_FAILED | TELL_CLOSED))) tell(c);
}

void NetStack::give_scoreboard(TcpConnection& c) {
  if (c.scoreboard == NO_INDEX) return;
  scoreboards_.give(c.scoreboard);
  c.scoreboard = NO_INDEX;
}

void NetStack::give_hold(uint32_t index) {
  ReceiveHold& hold = holds_[index];
  device_.rx_release(hold.frame);
  TcpConnection* c = connections_.find(hold.conn);
  if (c != nullptr) --c->hold_count;
  holds_.give(index);
}

void NetStack::give_holds(uint32_t& head) {
  while (head != NO_INDEX) {
    const uint32_t next = holds_[head].next;
    give_hold(head);
    head = next;
  }
}

}  // namespace penstock
