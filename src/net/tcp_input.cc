// SEGMENT ARRIVES, in the order of RFC 9293 section 3.10.7: sequence number, RST, SYN, ACK, text, FIN. Urgent data is
// ignored.
#include "src/net/frame_owner.h"
#include "src/net/net_stack.h"
#include "src/net/wire/byte_order.h"

#include <cerrno>

namespace penstock {
namespace {

constexpr uint32_t PAWS_IDLE_MS =
    24U * 24 * 3'600 * 1'000;                   // RFC 7323 section 5.5: TS.Recent is too old to compare with
constexpr uint32_t DUPLICATE_ACK_GAP_MS = 100;  // between answers to segments without data that are out of the window
constexpr uint32_t MTU_MIN_V4 = 552;
constexpr uint32_t MTU_MIN_V6 = 1'280;

}  // namespace

void NetStack::receive_frame(const RxFrame& frame, uint64_t hash) {
  ++counters_.frames_received;
  frame_kept_ = false;
  frame_token_ = frame.token;
  IpLayer::Arrival arrival;
  DropReason drop = ip_.receive(frame, now_, arrival);
  frame_from_ = arrival.from;
  Handle woken;
  while (ip_.next_woken(woken)) {
    TcpConnection* c = connections_.find(woken);
    if (c == nullptr || c->state == TcpState::CLOSED) continue;
    const bool opening = c->state == TcpState::SYN_SENT || c->state == TcpState::SYN_RECEIVED;
    want_output(*c, opening ? uint32_t{NEED_SYN} : 0);
  }
  if (drop == DropReason::NONE) {
    if (arrival.kind == IpLayer::Arrival::Kind::TCP) drop = receive_tcp(frame, arrival, hash);
    if (arrival.kind == IpLayer::Arrival::Kind::ICMP_ERROR) drop = receive_icmp_error(arrival);
  }
  if (others_ != nullptr && !frame.overheard && handover_ != PortHandover::SILENT) [[unlikely]]
    drop = hand_on(frame, arrival, drop);
  ++counters_.drops[static_cast<size_t>(drop)];
  if (!frame_kept_) device_.rx_release(frame.token);
}

// What is left to say of a frame that has come to a shared port.
DropReason NetStack::hand_on(const RxFrame& frame, const IpLayer::Arrival& arrival, DropReason drop) {
  const FrameOwner owner = frame_owner(drop, arrival);
  if (owner == FrameOwner::ENGINE || !others_->take(frame)) return drop;
  ASSERT(!frame_kept_);
  ++counters_.frames_handed_on;
  frame_kept_ = true;
  const bool of_no_use =
      drop == DropReason::ARP_NOT_OURS || drop == DropReason::NDP_NOT_OURS || drop == DropReason::NDP_IGNORED;
  return owner == FrameOwner::KERNEL || of_no_use ? DropReason::NONE : drop;
}

// `hash`: of its socket pair, or 0.
DropReason NetStack::receive_tcp(const RxFrame& frame, const IpLayer::Arrival& arrival, uint64_t hash) {
  const IpHeader& packet = arrival.packet;
  const std::span<const uint8_t> bytes = packet.payload;
  TcpSegment segment;
  DropReason drop = parse_tcp(bytes, segment.header);
  if (drop != DropReason::NONE) return drop;
  if (segment.header.source_port == 0 || segment.header.destination_port == 0) return DropReason::TCP_PORT_ZERO;
  if (!frame.tcp_checksum_good) {
    const InternetSum pseudo =
        pseudo_header_sum(packet.source, packet.destination, IP_PROTOCOL_TCP, static_cast<uint32_t>(bytes.size()));
    if (!checksum_good(pseudo + internet_sum(bytes))) return DropReason::TCP_CHECKSUM;
  }
  segment.seq = {segment.header.seq};
  segment.ack = {segment.header.ack};
  segment.flags = segment.header.flags;
  segment.data = bytes.subspan(segment.header.bytes);
  const TcpTuple tuple{.local = packet.destination,
                       .remote = packet.source,
                       .local_port = segment.header.destination_port,
                       .remote_port = segment.header.source_port};
  // Before any work is done for it; the peer repeats it.
  if (admission_.turns_away(half_open_) && (segment.flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN &&
      listener_for(tuple) != nullptr) [[unlikely]]
    return DropReason::TCP_OVERLOAD;
  TcpConnection* c = hash != 0 ? find(tuple, hash) : find(tuple);
  if (c != nullptr && fast_path(*c, segment, bytes)) {
    ++counters_.fast_path;
    return DropReason::NONE;
  }
  drop = parse_tcp_options(bytes, segment.header, segment.options);
  if (drop != DropReason::NONE) return drop;
  if (c == nullptr) return closed_arrives(tuple, segment);
  ++counters_.slow_path;
  return segment_arrives(*c, segment);
}

// Header prediction (Van Jacobson): an established connection, the next bytes or an ACK of ours, nothing else. Declines
// at the first oddity, before anything is changed. What it does is what segment_arrives() would.
bool NetStack::fast_path(TcpConnection& c, const TcpSegment& segment, std::span<const uint8_t> bytes) {
  if (c.state != TcpState::ESTABLISHED || (segment.flags & ~TCP_PSH) != TCP_ACK || segment.seq != c.rcv_nxt)
    return false;
  if (c.has(IN_RECOVERY | RTO_RECOVERY | FIN_SEEN | PERSISTING) || c.out_of_order != NO_INDEX ||
      c.scoreboard != NO_INDEX)
    return false;
  if (!c.has(OWNED) || c.snd_nxt != c.snd_max || segment.ack < c.snd_una || segment.ack > c.snd_max) return false;
  // The window changes with each request and each answer, and is not news; a closed one is.
  const uint32_t window = static_cast<uint32_t>(segment.header.window) << c.snd_wscale;
  if (window == 0 || c.snd_wnd == 0 || (window != c.snd_wnd && segment.seq < c.snd_wl1)) return false;
  uint32_t ts_val = 0;
  uint32_t ts_ecr = 0;
  if (c.has(TIMESTAMPS)) {
    if (!parse_tcp_timestamps_only(bytes, segment.header, ts_val, ts_ecr) ||
        static_cast<int32_t>(ts_val - c.ts_recent) < 0)
      return false;
  } else if (segment.header.bytes != TcpHeader::BYTES) {
    return false;
  }
  const bool acknowledges = segment.ack != c.snd_una;
  if (segment.data.empty()) {
    if (!acknowledges) return false;
  } else {
    if (segment.data.size() > seq_bytes(c.rcv_nxt, c.rcv_adv)) return false;
    if (c.hold_count >= config_.limits.holds_per_connection_max) return false;
    const uint32_t hold = take_hold(c, segment.seq, segment.data);
    if (hold == NO_INDEX) return false;
    append_ready(c, hold);
    schedule_ack(c, static_cast<uint32_t>(segment.data.size()));
  }
  if (c.has(TIMESTAMPS) && segment.seq <= c.last_ack_sent) c.ts_recent = ts_val;
  c.last_heard_ms = now_ms();
  const bool opens = window > c.snd_wnd;
  c.snd_wnd = window;
  c.max_snd_wnd = std::max(c.max_snd_wnd, window);
  c.snd_wl1 = segment.seq;
  c.snd_wl2 = segment.ack;
  if (acknowledges) acknowledge(c, segment.ack, c.has(TIMESTAMPS), ts_ecr);
  if (acknowledges || opens) want_output(c);
  return true;
}

DropReason NetStack::segment_arrives(TcpConnection& c, TcpSegment& segment) {
  if (c.state == TcpState::SYN_SENT) return syn_sent_arrives(c, segment);
  if (c.state == TcpState::TIME_WAIT && segment.flags == TCP_SYN && time_wait_gives_way(c, segment))
    return restart_from_time_wait(c, segment);
  if (c.state == TcpState::SYN_RECEIVED && segment.has(TCP_SYN) && !segment.has(TCP_RST) && segment.seq == c.irs) {
    if (!segment.has(TCP_ACK)) {  // our SYN-ACK was lost
      want_output(c, NEED_SYN);
      return DropReason::TCP_OLD_DUPLICATE;
    }
    segment.flags = static_cast<uint8_t>(segment.flags & ~TCP_SYN);  // simultaneous open: its ACK is what counts
    segment.seq = segment.seq + 1;
  }
  DropReason drop = check_sequence(c, segment);
  if (drop != DropReason::NONE) return drop;
  if (segment.has(TCP_RST)) return check_reset(c, segment);
  if (segment.has(TCP_SYN)) {  // RFC 5961 section 4.2
    challenge(c);
    return DropReason::TCP_SYN_CHALLENGED;
  }
  drop = check_ack(c, segment);
  if (drop != DropReason::NONE) return drop;
  c.last_heard_ms = now_ms();
  c.probes = 0;
  if (c.has(TIMESTAMPS) && segment.options.has_timestamps &&
      static_cast<int32_t>(segment.options.ts_val - c.ts_recent) >= 0 && segment.seq <= c.last_ack_sent) {
    c.ts_recent = segment.options.ts_val;  // RFC 7323 section 4.3
  }
  process_ack(c, segment);
  if (c.fin_sent() && c.snd_una == c.snd_max) our_fin_acknowledged(c);
  if (c.state == TcpState::CLOSED) {
    free_if_done(c);
    return DropReason::NONE;
  }
  return take_text(c, segment);
}

void NetStack::our_fin_acknowledged(TcpConnection& c) {
  if (c.state == TcpState::FIN_WAIT_1) {
    c.state = TcpState::FIN_WAIT_2;
    c.progress_ms = now_ms();
    if (!c.has(OWNED)) c.long_due = now_ + config_.times.orphan_max;
    arm(c);
  } else if (c.state == TcpState::CLOSING) {
    enter_time_wait(c);
  } else if (c.state == TcpState::LAST_ACK) {
    become_closed(c);
  }
}

DropReason NetStack::restart_from_time_wait(TcpConnection& c, const TcpSegment& segment) {
  if (handover_ == PortHandover::SILENT) return forget(c);
  const TcpTuple tuple = c.tuple;
  const SeqNum last = c.snd_max;
  const Listener* listener = listener_for(tuple);
  if (listener == nullptr) return DropReason::TCP_NO_LISTENER;
  if (accept_paused_ || half_open_ >= accept_room_) return DropReason::TCP_ACCEPT_PAUSED;
  become_closed(c);
  free_if_done(c);
  ++counters_.time_wait_reused;
  return syn_arrives(tuple, segment, listener->id, last, true);
}

DropReason NetStack::syn_sent_arrives(TcpConnection& c, TcpSegment& segment) {
  const bool ack = segment.has(TCP_ACK);
  if (ack && (segment.ack <= c.iss || segment.ack > c.snd_max)) {
    if (!segment.has(TCP_RST)) reply_reset(c.tuple, segment);
    return DropReason::TCP_SYN_SENT_ACK;
  }
  if (segment.has(TCP_RST)) {
    if (!ack) return DropReason::TCP_SYN_SENT_FLAGS;
    fail(c, ECONNREFUSED);
    return DropReason::NONE;
  }
  if (!segment.has(TCP_SYN)) return DropReason::TCP_SYN_SENT_FLAGS;
  take_syn_options(c, segment);
  c.rcv_adv = c.rcv_nxt + std::min<uint32_t>(config_.limits.receive_window_bytes, UINT16_MAX);  // as our SYN said
  c.last_heard_ms = now_ms();
  if (!ack) {  // simultaneous open
    c.state = TcpState::SYN_RECEIVED;
    want_output(c, NEED_SYN);
    return DropReason::NONE;
  }
  take_rtt(c, segment.ack, false, 0);
  c.snd_una = c.snd_nxt = segment.ack;
  become_established(c);
  want_output(c, NEED_ACK);
  return DropReason::NONE;
}

// First: PAWS, the window; what lies outside of it is cut off.
DropReason NetStack::check_sequence(TcpConnection& c, TcpSegment& segment) {
  const bool rst = segment.has(TCP_RST);
  if (c.has(TIMESTAMPS) && !rst) {
    if (!segment.options.has_timestamps) return DropReason::TCP_TIMESTAMP_MISSING;
    if (static_cast<int32_t>(segment.options.ts_val - c.ts_recent) < 0 && now_ms() - c.last_heard_ms < PAWS_IDLE_MS) {
      want_output(c, NEED_ACK);
      return DropReason::TCP_PAWS;
    }
  }
  const uint32_t length = segment.length();
  if (segment.seq < c.rcv_nxt) {
    const uint32_t old = seq_bytes(segment.seq, c.rcv_nxt);
    if (old >= length) {
      if (rst) return DropReason::TCP_RST_OUT_OF_WINDOW;
      // The gap keeps two ends that disagree from answering each other without end.
      if (length != 0 || now_ms() - c.challenged_ms >= DUPLICATE_ACK_GAP_MS) {
        c.challenged_ms = now_ms();
        want_output(c, NEED_ACK);
      }
      if (c.state == TcpState::TIME_WAIT && segment.has(TCP_FIN)) enter_time_wait(c);
      return DropReason::TCP_OLD_DUPLICATE;
    }
    uint32_t cut = old;
    if (segment.has(TCP_SYN)) {
      segment.flags = static_cast<uint8_t>(segment.flags & ~TCP_SYN);
      --cut;
    }
    segment.data = segment.data.subspan(std::min<size_t>(cut, segment.data.size()));
    segment.seq = c.rcv_nxt;
  }
  if (segment.seq > c.rcv_adv || (segment.seq == c.rcv_adv && segment.seq != c.rcv_nxt && !segment.data.empty())) {
    if (rst) return DropReason::TCP_RST_OUT_OF_WINDOW;
    if (length != 0 || now_ms() - c.challenged_ms >= DUPLICATE_ACK_GAP_MS) {
      c.challenged_ms = now_ms();
      want_output(c, NEED_ACK);
    }
    return DropReason::TCP_OUT_OF_WINDOW;
  }
  const uint32_t room = seq_bytes(segment.seq, c.rcv_adv);
  if (segment.data.size() > room) {
    segment.data = segment.data.first(room);
    segment.flags = static_cast<uint8_t>(segment.flags & ~(TCP_FIN | TCP_PSH));
    want_output(c, NEED_ACK);
  }
  return DropReason::NONE;
}

// Second: RFC 5961 section 3.2.
DropReason NetStack::check_reset(TcpConnection& c, const TcpSegment& segment) {
  if (c.state == TcpState::TIME_WAIT) return DropReason::TCP_RST_TIME_WAIT;
  if (segment.seq != c.rcv_nxt) {
    challenge(c);
    return DropReason::TCP_RST_CHALLENGED;
  }
  if (c.has(HALF_OPEN)) admission_.given_up();
  fail(c, c.state == TcpState::SYN_RECEIVED ? ECONNREFUSED : ECONNRESET);
  return DropReason::NONE;
}

// Fifth, as far as it is a check: RFC 5961 section 5.2.
DropReason NetStack::check_ack(TcpConnection& c, const TcpSegment& segment) {
  if (!segment.has(TCP_ACK)) return DropReason::TCP_ACK_MISSING;
  if (c.state == TcpState::SYN_RECEIVED) {
    if (segment.ack <= c.iss || segment.ack > c.snd_max) {
      if (handover_ != PortHandover::NONE && c.has(PASSIVE)) return forget(c);
      reply_reset(c.tuple, segment);
      return DropReason::TCP_SYN_RECEIVED_ACK;
    }
    take_rtt(c, segment.ack, segment.options.has_timestamps && c.has(TIMESTAMPS), segment.options.ts_ecr);
    c.snd_una = c.iss + 1;
    c.snd_nxt = seq_max(c.snd_nxt, c.snd_una);
    c.snd_wnd = c.max_snd_wnd = static_cast<uint32_t>(segment.header.window) << c.snd_wscale;
    c.snd_wl1 = segment.seq;
    c.snd_wl2 = segment.ack;
    become_established(c);
    want_output(c);
    return DropReason::NONE;
  }
  if (segment.ack > c.snd_max || segment.ack < c.snd_una - c.max_snd_wnd) {
    challenge(c);
    return DropReason::TCP_ACK_CHALLENGED;
  }
  return DropReason::NONE;
}

// Seventh and eighth.
DropReason NetStack::take_text(TcpConnection& c, const TcpSegment& segment) {
  const bool open =
      c.state == TcpState::ESTABLISHED || c.state == TcpState::FIN_WAIT_1 || c.state == TcpState::FIN_WAIT_2;
  if (!open) return DropReason::NONE;  // after the peer's FIN there is no text
  DropReason drop = DropReason::NONE;
  if (!segment.data.empty()) {
    if (!c.has(OWNED)) {
      (void)send_bare(c, bare_seq(c), TCP_RST | TCP_ACK);
      ++counters_.resets_sent;
      become_closed(c);
      free_if_done(c);
      return DropReason::TCP_DATA_AFTER_CLOSE;
    }
    drop = take_data(c, segment);
  }
  if (segment.has(TCP_FIN) && !c.has(FIN_SEEN)) {
    c.fin_seq = segment.seq + static_cast<uint32_t>(segment.data.size());
    c.set(FIN_SEEN);
    if (c.fin_seq != c.rcv_nxt) want_output(c, NEED_ACK);
  }
  if (c.has(FIN_SEEN) && c.fin_seq == c.rcv_nxt) take_fin(c);
  return drop;
}

void NetStack::take_fin(TcpConnection& c) {
  c.set(FIN_TAKEN);
  c.rcv_nxt = c.rcv_nxt + 1;
  c.rcv_adv = seq_max(c.rcv_adv, c.rcv_nxt);
  out_of_order_ -= c.out_of_order_count;
  c.out_of_order_count = 0;
  give_holds(c.out_of_order);
  want_output(c, NEED_ACK);
  if (c.has(OWNED)) tell(c, TELL_PEER_CLOSED);
  if (c.state == TcpState::ESTABLISHED) {
    c.state = TcpState::CLOSE_WAIT;
  } else if (c.state == TcpState::FIN_WAIT_1) {
    c.state = TcpState::CLOSING;
  } else {
    enter_time_wait(c);
  }
}

// RFC 5927: only what quotes bytes that are in flight is believed; and nothing ends an established connection.
DropReason NetStack::receive_icmp_error(const IpLayer::Arrival& arrival) {
  const IcmpMessage& icmp = arrival.icmp;
  const uint8_t* quoted = icmp.quoted.payload.data();
  if (icmp.quoted.protocol != IP_PROTOCOL_TCP || icmp.quoted.source.is_v4() != icmp.quoted.destination.is_v4())
    return DropReason::ICMP_IGNORED;
  TcpConnection* c = find({.local = icmp.quoted.source,
                           .remote = icmp.quoted.destination,
                           .local_port = load_be16(quoted),
                           .remote_port = load_be16(quoted + 2)});
  if (c == nullptr) return DropReason::ICMP_NO_CONNECTION;
  const SeqNum seq = {load_be32(quoted + 4)};
  if (seq < c->snd_una || seq >= c->snd_max) return DropReason::ICMP_NO_CONNECTION;
  if (icmp.kind == IcmpKind::PORT_UNREACHABLE && c->state == TcpState::SYN_SENT) {
    fail(*c, ECONNREFUSED);
    return DropReason::NONE;
  }
  if (icmp.kind != IcmpKind::PACKET_TOO_BIG) return DropReason::NONE;  // soft: the timers decide
  const uint32_t least = c->tuple.local.is_v4() ? MTU_MIN_V4 : MTU_MIN_V6;
  const uint32_t mtu = std::max(icmp.mtu, least);
  if (mtu >= c->mtu) return DropReason::ICMP_IGNORED;
  c->mtu = static_cast<uint16_t>(mtu);
  ++counters_.path_mtu_reduced;
  set_mss(*c);
  if (c->state == TcpState::SYN_SENT || c->state == TcpState::SYN_RECEIVED) return DropReason::NONE;
  c->congestion.mss = c->mss;
  // What was too big is lost, without congestion: all is sent again from SND.UNA (RFC 1191 section 6.5).
  c->unset(IN_RECOVERY | RTT_TIMING);
  c->set(RTO_RECOVERY);
  c->recover = c->snd_max;
  c->dup_acks = 0;
  c->snd_nxt = c->snd_una;
  want_output(*c);
  return DropReason::NONE;
}

}  // namespace penstock
