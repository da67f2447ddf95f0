// CLOSED and LISTEN (RFC 9293 sections 3.10.7.1 and 3.10.7.2), and SYN cookies when too many connections are half open
// (RFC 4987).
#include "src/net/isn.h"
#include "src/net/net_stack.h"
#include "src/net/syn_cookie.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr Duration COOKIE_LIFE = seconds(120);

}  // namespace

const NetStack::Listener* NetStack::listener_of(std::span<const Listener> listeners, const TcpTuple& tuple) {
  const ListenOn on = tuple.local.is_v4() ? ListenOn::V4 : ListenOn::V6;
  for (const Listener& listener : listeners) {
    if (listener.meets(tuple.local_port, on)) return &listener;
  }
  return nullptr;
}

const NetStack::Listener* NetStack::listener_for(const TcpTuple& tuple) const {
  return listener_of(std::span(listeners_).first(listener_count_), tuple);
}

void NetStack::share(FrameTaker& others) {
  others_ = &others;
  former_ports_.resize(size_t{UINT16_MAX} + 1);
  ip_.share();
}

// On a port of ours that nobody listens on.
DropReason NetStack::unheard_arrives(const TcpTuple& tuple, const TcpSegment& segment) {
  if (others_ != nullptr) {
    if (!succession_ || !segment.has(TCP_SYN)) return DropReason::TCP_NOT_OURS;
    // Which ports will be ours is not known before the first listener is there.
    return !listened_ || former_ports_[tuple.local_port] ? DropReason::TCP_ACCEPT_PAUSED : DropReason::TCP_NOT_OURS;
  }
  if (segment.has(TCP_RST)) return DropReason::TCP_NO_CONNECTION;
  if (segment.has(TCP_SYN) && succession_) return DropReason::TCP_ACCEPT_PAUSED;
  return refuse(tuple, segment, segment.has(TCP_SYN) ? DropReason::TCP_NO_LISTENER : DropReason::TCP_NO_CONNECTION);
}

// By RST, unless it may be a segment of another engine's connection.
DropReason NetStack::refuse(const TcpTuple& tuple, const TcpSegment& segment, DropReason drop) {
  const bool begins = segment.has(TCP_SYN) && !segment.has(TCP_ACK);
  if (handover_ != PortHandover::NONE && !begins) return DropReason::LEFT_TO_ANOTHER;
  reply_reset(tuple, segment);
  return drop;
}

// Its peer has it with the other engine.
DropReason NetStack::forget(TcpConnection& c) {
  become_closed(c);
  free_if_done(c);
  return DropReason::LEFT_TO_ANOTHER;
}

// Of no connection of ours, and only the other engine answers: but for who brings back a cookie that we have given him.
DropReason NetStack::silent_arrives(const TcpTuple& tuple, const TcpSegment& segment) {
  if (now_ >= cookies_until_ || !segment.has(TCP_ACK) || segment.has(TCP_SYN | TCP_RST) || accept_room_ == 0)
    return DropReason::LEFT_TO_ANOTHER;
  const Listener* listener = listener_for(tuple);
  if (listener == nullptr)
    listener = listener_of(std::span(left_listeners_).first(std::min(left_count_, LISTENERS_MAX)), tuple);
  TcpConnection* c = listener == nullptr ? nullptr : accept_cookie(tuple, segment, listener->id);
  if (c == nullptr) return DropReason::LEFT_TO_ANOTHER;
  TcpSegment copy = segment;
  return segment_arrives(*c, copy);
}

DropReason NetStack::closed_arrives(const TcpTuple& tuple, const TcpSegment& segment) {
  if (handover_ == PortHandover::SILENT) return silent_arrives(tuple, segment);
  const Listener* listener = listener_for(tuple);
  if (listener == nullptr) return unheard_arrives(tuple, segment);
  if (segment.has(TCP_RST)) {
    admission_.given_up();  // that of a cookie
    return DropReason::TCP_NO_CONNECTION;
  }
  if (segment.has(TCP_ACK)) {
    if (!segment.has(TCP_SYN) && now_ < cookies_until_) {
      if (accept_room_ == 0) return DropReason::TCP_ACCEPT_PAUSED;
      TcpConnection* c = accept_cookie(tuple, segment, listener->id);
      if (c != nullptr) {
        TcpSegment copy = segment;
        return segment_arrives(*c, copy);
      }
      if (connections_.count() == connections_.count_max()) return DropReason::TCP_CONNECTIONS_FULL;
      return refuse(tuple, segment, DropReason::TCP_COOKIE_BAD);
    }
    return refuse(tuple, segment, DropReason::TCP_NO_CONNECTION);
  }
  if (!segment.has(TCP_SYN) || segment.has(TCP_FIN)) return DropReason::TCP_LISTEN_FLAGS;
  return syn_arrives(tuple, segment, listener->id, {}, false);
}

// `reused`: the socket pair was in TIME-WAIT, and our numbers must begin behind `iss_after` (RFC 9293 MUST-8
// with 3.6.1).
DropReason NetStack::syn_arrives(const TcpTuple& tuple, const TcpSegment& segment, uint32_t listener_id,
                                 SeqNum iss_after, bool reused) {
  if (accept_paused_ || half_open_ >= accept_room_) return DropReason::TCP_ACCEPT_PAUSED;
  if (half_open_ >= config_.limits.half_open_max) {
    send_cookie(tuple, segment);
    return DropReason::NONE;
  }
  TcpConnection* c = make_connection(tuple);
  if (c == nullptr) return DropReason::TCP_CONNECTIONS_FULL;
  c->state = TcpState::SYN_RECEIVED;
  c->set(PASSIVE | HALF_OPEN);
  ++half_open_;
  admission_.answered();
  c->listener_id = listener_id;
  take_syn_options(*c, segment);
  c->iss = initial_sequence_number(config_.secret, tuple, now_);
  if (reused && c->iss <= iss_after) c->iss = iss_after + 128'000;
  c->snd_una = c->snd_nxt = c->snd_max = c->iss;
  c->snd_end = c->iss + 1;
  want_output(*c, NEED_SYN);
  return DropReason::NONE;
}

void NetStack::take_syn_options(TcpConnection& c, const TcpSegment& segment) {
  const TcpOptions& options = segment.options;
  c.irs = segment.seq;
  c.rcv_nxt = segment.seq + 1;
  c.last_ack_sent = c.rcv_nxt;
  c.rcv_adv = c.rcv_nxt;
  c.peer_mss = options.mss;
  // The window of a SYN is never scaled.
  c.snd_wnd = c.max_snd_wnd = segment.header.window;
  c.snd_wl1 = segment.seq;
  c.snd_wl2 = segment.ack;
  c.unset(TIMESTAMPS | SACK_OK);
  if (options.has_timestamps) {
    c.set(TIMESTAMPS);
    c.ts_recent = options.ts_val;
  }
  if (options.sack_permitted) c.set(SACK_OK);
  if (options.has_window_scale) {
    c.snd_wscale = options.window_scale;
  } else {
    c.snd_wscale = c.rcv_wscale = 0;
  }
  set_mss(c);
}

// RFC 9293 section 3.10.7.1: a RST that the sender of `segment` will accept.
void NetStack::reply_reset(const TcpTuple& tuple, const TcpSegment& segment) {
  if (!reset_limit_.allow(now_)) {
    ++counters_.resets_withheld;
    return;
  }
  TcpHeader header{.source_port = tuple.local_port, .destination_port = tuple.remote_port};
  if (segment.has(TCP_ACK)) {
    header.seq = segment.ack.value;
    header.flags = TCP_RST;
  } else {
    header.ack = (segment.seq + segment.length()).value;
    header.flags = TCP_RST | TCP_ACK;
  }
  emit_to(frame_from_, tuple, header, {}, {});
  ++counters_.resets_sent;
}

void NetStack::send_cookie(const TcpTuple& tuple, const TcpSegment& segment) {
  const TcpOptions& theirs = segment.options;
  const uint16_t mss = theirs.mss == 0 ? uint16_t{536} : theirs.mss;
  TcpHeader header{.source_port = tuple.local_port, .destination_port = tuple.remote_port};
  header.seq = make_syn_cookie(config_.secret, tuple, segment.seq, mss, now_).value;
  header.ack = (segment.seq + 1).value;
  header.flags = TCP_SYN | TCP_ACK;
  header.window = static_cast<uint16_t>(std::min<uint32_t>(config_.limits.receive_window_bytes, UINT16_MAX));
  TcpOptions ours;
  ours.mss = static_cast<uint16_t>(config_.addresses.mtu - TcpHeader::BYTES -
                                   (tuple.local.is_v4() ? IpHeader::V4_BYTES : IpHeader::V6_BYTES));
  if (theirs.has_timestamps) {
    ours.has_timestamps = true;
    ours.ts_ecr = theirs.ts_val;
    ours.ts_val = put_cookie_options(now_ms() + timestamp_offset(config_.secret, tuple),
                                     {theirs.has_window_scale, theirs.window_scale, theirs.sack_permitted});
    ours.sack_permitted = theirs.sack_permitted;
    ours.has_window_scale = theirs.has_window_scale;
    while (ours.has_window_scale && config_.limits.receive_window_bytes >> ours.window_scale > UINT16_MAX)
      ++ours.window_scale;
  }
  emit_to(frame_from_, tuple, header, ours, {});
  cookies_until_ = now_ + COOKIE_LIFE;
  ++counters_.syn_cookies_sent;
  admission_.answered();
}

// The connection that the cookie in SEG.ACK stands for, in SYN-RECEIVED, as if its SYN had just come; else nullptr.
TcpConnection* NetStack::accept_cookie(const TcpTuple& tuple, const TcpSegment& segment, uint32_t listener_id) {
  const auto mss = check_syn_cookie(config_.secret, tuple, segment.seq - 1, segment.ack - 1, now_);
  if (!mss) return nullptr;
  TcpConnection* c = make_connection(tuple);
  if (c == nullptr) return nullptr;
  TcpSegment syn = segment;
  syn.seq = segment.seq - 1;
  syn.options.mss = *mss;
  syn.options.has_window_scale = syn.options.sack_permitted = false;
  if (segment.options.has_timestamps) {
    const CookieOptions options = cookie_options_of(segment.options.ts_ecr);
    syn.options.has_window_scale = options.has_window_scale;
    syn.options.window_scale = options.window_scale;
    syn.options.sack_permitted = options.sack_permitted;
  }
  c->set(PASSIVE);
  c->state = TcpState::SYN_RECEIVED;
  c->listener_id = listener_id;
  take_syn_options(*c, syn);
  c->rcv_adv =
      c->rcv_nxt + std::min<uint32_t>(config_.limits.receive_window_bytes, UINT16_MAX);  // as the cookie's segment said
  c->iss = segment.ack - 1;
  c->snd_una = c->iss;
  c->snd_nxt = c->snd_max = c->snd_end = c->iss + 1;
  ++counters_.syn_cookies_accepted;
  return c;
}

// RFC 6191: by a newer timestamp, or (RFC 9293 section 3.6.1) a higher number where there are none.
bool NetStack::time_wait_gives_way(const TcpConnection& c, const TcpSegment& segment) const {
  if (c.has(OWNED) || c.piece_head != NO_INDEX) return false;
  if (c.has(TIMESTAMPS) && segment.options.has_timestamps) {
    const int32_t newer = static_cast<int32_t>(segment.options.ts_val - c.ts_recent);
    return newer > 0 || (newer == 0 && segment.seq > c.rcv_nxt);
  }
  return segment.seq > c.rcv_nxt;
}

}  // namespace penstock
