// Invariants:
//  - A connection is in the table exactly while its state is not CLOSED; its slot is free exactly when it is CLOSED,
//  not owned,
//    without pieces, and in no list.
//  - Payload is put into the batch of frames only by output(), after all that came in was looked at, and the batch is
//  flushed
//    before the owner gets to act: no piece goes while a frame that is not yet the device's refers to it.
//  - Every hold is in one of: a connection's ready list, its out-of-order list, the owner's hands.
#include "src/net/net_stack.h"

#include "src/net/isn.h"

#include <algorithm>
#include <cerrno>

namespace penstock {
namespace {

std::unique_ptr<CongestionControl> make_congestion(CongestionKind kind) {
  if (kind == CongestionKind::RENO) return std::make_unique<RenoControl>();
  return std::make_unique<CubicControl>();
}

}  // namespace

NetStack::NetStack(const NetConfig& config, PacketDevice& device, MonoTime now)
    : config_(config),
      device_(device),
      now_(now),
      congestion_(make_congestion(config.congestion)),
      connections_(config.limits.connections_max),
      table_(config.limits.connections_max),
      pieces_(config.limits.send_pieces_max),
      holds_(config.limits.receive_holds_max),
      scoreboards_(config.limits.scoreboards_max),
      ip_(config, device, pieces_, counters_, now),
      wheel_(now),
      challenge_limit_(config.limits.replies_per_second, now),
      reset_limit_(config.limits.replies_per_second, now),
      admission_(config.limits.half_open_max / 2, now),
      next_port_(static_cast<uint16_t>(config.secret[1])) {}

NetStack::~NetStack() = default;

size_t NetStack::poll(MonoTime now, std::span<NetEvent> out) {
  now_ = now;
  arm_delayed_acks();
  std::array<uint32_t, BURST> done;
  while (const size_t count = ip_.collect_done(done)) {
    for (size_t i = 0; i < count; ++i) {
      TcpConnection* c = connections_.at(pieces_[done[i]].conn);  // nullptr: an earlier one of these was its last
      if (c == nullptr) continue;
      reap_pieces(*c);
      free_if_done(*c);
    }
  }
  const size_t frames = device_.rx_burst(rx_frames_);
  admission_.turn(now_, frames == BURST);
  look_ahead(frames);
  for (size_t i = 0; i < frames; ++i) receive_frame(rx_frames_[i], rx_hashes_[i]);
  expire_timers();
  ip_.ask_neighbours(now_);
  submit();
  return deliver(out);
}

void NetStack::submit() {
  flush_output();
  ip_.ask_neighbours(now_);
  ip_.flush();
}

MonoTime NetStack::next_deadline() const {
  if (ready_head_ != NO_INDEX || output_head_ != NO_INDEX) return now_;
  MonoTime due = std::min(wheel_.next_due(), ip_.next_deadline());
  for (const uint32_t index : unarmed_.values()) {
    const TcpConnection* c = connections_.at(index);
    if (c != nullptr) due = std::min(due, c->ack_due);
  }
  return due;
}

size_t NetStack::deliver(std::span<NetEvent> out) {
  size_t count = 0;
  for (uint32_t left = ready_count_; left != 0 && count < out.size(); --left) {
    const uint32_t index = ready_head_;
    TcpConnection& c = by_index(index);
    ready_head_ = c.next_ready;
    if (ready_head_ == NO_INDEX) ready_tail_ = NO_INDEX;
    c.next_ready = NO_INDEX;
    c.unset(IN_READY);
    --ready_count_;
    bool more = true;
    while (more && count < out.size()) {
      NetEvent& event = out[count];
      event = {};
      more = next_event(c, event);
      if (more) ++count;
      if (more && event.kind == NetEventKind::ACCEPTED) break;  // the owner sets its context before there is another
    }
    if (more) {
      tell(c);
    } else {
      free_if_done(c);
    }
  }
  return count;
}

// The next thing that the owner is to know, in the order of the wire; false: nothing.
bool NetStack::next_event(TcpConnection& c, NetEvent& event) {
  event.conn = connections_.handle_of(&c);
  event.context = c.context;
  const auto is = [&](uint32_t bit, NetEventKind kind) {
    event.kind = kind;
    c.unset(bit);
    return true;
  };
  if (c.has(TELL_ACCEPTED)) {
    event.id = c.listener_id;
    return is(TELL_ACCEPTED, NetEventKind::ACCEPTED);
  }
  if (c.has(TELL_CONNECTED)) return is(TELL_CONNECTED, NetEventKind::CONNECTED);
  // The segment that brings the next request acknowledges the last answer.
  if (c.done_head != NO_INDEX) {
    const uint32_t piece = c.done_head;
    event.token = pieces_[piece].token;
    c.done_head = pieces_[piece].next;
    if (c.done_head == NO_INDEX) c.done_tail = NO_INDEX;
    pieces_.give(piece);
    return is(0, NetEventKind::SENT);
  }
  if (c.has(OWNED) && c.ready_head != NO_INDEX && !c.has(RECEIVING_OFF)) {
    event.buffer = c.ready_head;
    const ReceiveHold& hold = holds_[c.ready_head];
    event.data = hold.data;
    event.size = hold.size;
    c.ready_head = hold.next;
    if (c.ready_head == NO_INDEX) c.ready_tail = NO_INDEX;
    counters_.bytes_received += event.size;
    return is(0, NetEventKind::RECEIVED);
  }
  if (c.has(TELL_PEER_CLOSED) && c.ready_head == NO_INDEX) return is(TELL_PEER_CLOSED, NetEventKind::PEER_CLOSED);
  if (c.piece_head != NO_INDEX) return false;
  if (c.has(TELL_FAILED)) {
    event.error = c.error;
    return is(TELL_FAILED, NetEventKind::FAILED);
  }
  if (c.has(TELL_CLOSED)) return is(TELL_CLOSED, NetEventKind::CLOSED);
  return false;
}

void NetStack::tell(TcpConnection& c, uint32_t bits) {
  c.set(bits);
  if (c.has(IN_READY)) return;
  c.set(IN_READY);
  const uint32_t index = index_of(c);
  if (ready_tail_ == NO_INDEX) {
    ready_head_ = index;
  } else {
    by_index(ready_tail_).next_ready = index;
  }
  ready_tail_ = index;
  ++ready_count_;
}

void NetStack::want_output(TcpConnection& c, uint32_t bits) {
  c.set(bits);
  if (c.has(IN_OUTPUT)) return;
  c.set(IN_OUTPUT);
  const uint32_t index = index_of(c);
  if (output_tail_ == NO_INDEX) {
    output_head_ = index;
  } else {
    by_index(output_tail_).next_output = index;
  }
  output_tail_ = index;
}

bool NetStack::listen(uint16_t port, uint32_t id, ListenOn on) {
  if (port == 0 || listener_count_ == LISTENERS_MAX) return false;
  for (size_t i = 0; i < listener_count_; ++i) {
    if (listeners_[i].meets(port, on)) return false;
  }
  listeners_[listener_count_++] = {port, on, id};
  listened_ = true;
  if (others_ != nullptr) former_ports_[port] = false;
  return true;
}

void NetStack::stop_listening(uint32_t id) {
  for (size_t i = 0; i < listener_count_; ++i) {
    if (listeners_[i].id != id) continue;
    const Listener gone = listeners_[i];
    if (others_ != nullptr) former_ports_[gone.port] = true;
    listeners_[i] = listeners_[--listener_count_];
    const std::span left(left_listeners_.data(), std::min(left_count_, LISTENERS_MAX));
    const auto same = std::ranges::find_if(left, [&](const Listener& one) { return one.meets(gone.port, gone.on); });
    (same != left.end() ? *same : left_listeners_[left_count_++ % LISTENERS_MAX]) = gone;
  }
}

void NetStack::set_handover(PortHandover handover) {
  handover_ = handover;
  ip_.set_silent(handover == PortHandover::SILENT);
}

Handle NetStack::connect(const IpAddress& remote, uint16_t remote_port, uint16_t local_port) {
  const Handle conn = begin_connect(remote, remote_port, local_port);
  if (!conn.valid()) ++counters_.connects_refused;
  return conn;
}

Handle NetStack::begin_connect(const IpAddress& remote, uint16_t remote_port, uint16_t local_port) {
  const auto local = ip_.local_for(remote);
  if (!local || remote_port == 0) return {};
  TcpTuple tuple{.local = *local, .remote = remote, .local_port = local_port, .remote_port = remote_port};
  for (uint32_t tries = 0; local_port == 0 && tries < 28'000; ++tries) {
    tuple.local_port = static_cast<uint16_t>(32'768 + next_port_++ % 28'000);
    if (find(tuple) == nullptr) break;
  }
  TcpConnection* old = find(tuple);
  if (old != nullptr && old->state == TcpState::TIME_WAIT && !old->has(OWNED)) {
    // RFC 9293 section 3.6.1: our own new ISN and timestamp are ahead of what the peer remembers.
    become_closed(*old);
    free_if_done(*old);
    old = nullptr;
  }
  if (old != nullptr) return {};
  TcpConnection* c = make_connection(tuple);
  if (c == nullptr) return {};
  c->state = TcpState::SYN_SENT;
  c->set(OWNED | TIMESTAMPS | SACK_OK);
  c->iss = c->snd_una = c->snd_nxt = c->snd_max = initial_sequence_number(config_.secret, tuple, now_);
  c->snd_end = c->iss + 1;
  want_output(*c, NEED_SYN);
  return connections_.handle_of(c);
}

TcpConnection& NetStack::at(Handle conn) {
  TcpConnection* c = connections_.find(conn);
  ASSERT(c != nullptr && c->has(OWNED));
  return *c;
}

const TcpConnection& NetStack::at(Handle conn) const {
  const TcpConnection* c = connections_.find(conn);
  ASSERT(c != nullptr && c->has(OWNED));
  return *c;
}

bool NetStack::is_open(Handle conn) const {
  const TcpConnection* c = connections_.find(conn);
  return c != nullptr && c->has(OWNED);
}

bool NetStack::send(Handle conn, std::span<const NetPart> parts, uint64_t token) {
  TcpConnection& c = at(conn);
  ASSERT(!parts.empty() && parts.size() <= SEND_PARTS_MAX && !c.has(FIN_QUEUED));
  if (c.state == TcpState::CLOSED) return true;  // FAILED is under way and ends it
  uint64_t bytes = seq_bytes(c.snd_una, c.snd_end);
  for (const NetPart& part : parts) bytes += part.size;
  // Sequence numbers must stay comparable: less than 2^30 is queued.
  if (pieces_.free_count() < parts.size() || bytes >= 1U << 30) {
    ++counters_.pieces_full;
    return false;
  }
  if (c.snd_una == c.snd_end) {
    // RFC 5681 section 4.1: after a silence the window is no longer known to be right.
    if (c.congestion.mss != 0 && uint64_t{now_ms() - c.progress_ms} * 1'000 > c.rtt.rto_us)
      congestion_->on_idle(c.congestion);
    c.progress_ms = now_ms();
    c.long_due = std::min(c.long_due, now_ + config_.times.stuck_max);
  }
  for (const NetPart& part : parts) {
    ASSERT(part.size != 0);
    const uint32_t index = pieces_.take();
    SendPiece& piece = pieces_[index];
    piece.data = static_cast<const uint8_t*>(part.data);
    piece.size = part.size;
    piece.sums = part.stride == 0 ? nullptr : part.sums;
    piece.stride = part.stride;
    piece.conn = index_of(c);
    if (c.piece_tail == NO_INDEX) {
      c.piece_head = index;
    } else {
      pieces_[c.piece_tail].next = index;
    }
    c.piece_tail = index;
    if (c.una_piece == NO_INDEX) c.una_piece = index, c.una_offset = 0;
    c.snd_end = c.snd_end + part.size;
  }
  pieces_[c.piece_tail].last = true;
  pieces_[c.piece_tail].token = token;
  want_output(c);
  return true;
}

void NetStack::release(uint32_t buffer) {
  const Handle conn = holds_[buffer].conn;
  const uint32_t size = holds_[buffer].size;
  give_hold(buffer);
  TcpConnection* c = connections_.find(conn);
  if (c == nullptr || c->state == TcpState::CLOSED) return;
  c->rcv_held -= size;
  // RFC 9293 section 3.8.6.2.2: tell of the window once it has grown by enough to be of use.
  const uint32_t gain = window_edge_gain(*c);
  const uint32_t open = seq_bytes(c->rcv_nxt, c->rcv_adv);
  const uint32_t enough = std::min(config_.limits.receive_window_bytes / 4, 8U * c->mss);
  if (!c->has(FIN_TAKEN) &&
      (gain >= config_.limits.receive_window_bytes / 4 ||
       (open < enough && gain >= std::min<uint32_t>(c->mss, config_.limits.receive_window_bytes / 2)))) {
    want_output(*c, NEED_ACK);
  }
}

void NetStack::set_receiving(Handle conn, bool on) {
  TcpConnection& c = at(conn);
  if (!on) {
    c.set(RECEIVING_OFF);
    return;
  }
  c.unset(RECEIVING_OFF);
  if (c.ready_head != NO_INDEX || c.has(TELL_PEER_CLOSED)) tell(c);
}

void NetStack::shutdown_send(Handle conn) {
  TcpConnection& c = at(conn);
  if (c.has(FIN_QUEUED) || c.state == TcpState::CLOSED) return;
  c.set(FIN_QUEUED);
  want_output(c);
}

bool NetStack::close(Handle conn) { return end(at(conn), false); }
bool NetStack::reset(Handle conn) { return end(at(conn), true); }

bool NetStack::end(TcpConnection& c, bool with_reset) {
  c.unset(OWNED | TELL_ACCEPTED | TELL_CONNECTED | TELL_PEER_CLOSED | TELL_FAILED);
  // RFC 9293 section 3.6.1 (RFC 2525 section 2.17): bytes that nobody will read were not received, and the peer is
  // told.
  const bool unread = c.ready_head != NO_INDEX;
  give_holds(c.ready_head);
  c.ready_tail = NO_INDEX;
  while (c.done_head != NO_INDEX) {
    const uint32_t piece = c.done_head;
    c.done_head = pieces_[piece].next;
    pieces_.give(piece);
  }
  c.done_tail = NO_INDEX;
  if (c.state == TcpState::SYN_SENT) become_closed(c);
  if (c.state != TcpState::CLOSED && (with_reset || unread)) {
    if (c.state != TcpState::TIME_WAIT) {
      (void)send_bare(c, bare_seq(c), TCP_RST | TCP_ACK);
      ++counters_.resets_sent;
    }
    become_closed(c);
  } else if (c.state != TcpState::CLOSED) {
    c.progress_ms = now_ms();
    if (!c.has(FIN_QUEUED)) want_output(c, FIN_QUEUED);
    c.long_due = std::min(c.long_due, now_ + config_.times.orphan_max);
    arm(c);
  }
  const bool busy = c.piece_head != NO_INDEX;
  if (busy) c.set(TELL_CLOSED);
  free_if_done(c);
  return busy;
}

uint64_t NetStack::unacknowledged_bytes(Handle conn) const {
  const TcpConnection& c = at(conn);
  return seq_bytes(c.snd_una, c.snd_end);
}

NetStack::Lent NetStack::lent() const {
  return {connections_.count(), half_open_, time_wait_, pieces_.count(), holds_.count(), scoreboards_.count()};
}

}  // namespace penstock
