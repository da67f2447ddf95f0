// Timers: one of the wheel for each connection, at or before the first of its three: retransmission or persist, delayed
// ACK, and the long one (keep-alive, TIME-WAIT, what is stuck). A timer that fires early looks again and is filed anew:
// so it is seldom moved.
#include "src/net/net_stack.h"

#include <cerrno>

namespace penstock {

void NetStack::arm(TcpConnection& c) {
  const MonoTime due = std::min({c.rtx_due, c.ack_due, c.long_due});
  if (c.state == TcpState::CLOSED || due == MonoTime::never()) return;
  if (c.timer.armed() && c.timer.due <= due) return;
  c.timer.conn = index_of(c);
  c.timer.due = due;
  wheel_.arm(c.timer, due);
}

// Of those that the last turn's frames began. Who has something to send is armed by output(), if it sends no ACK.
void NetStack::arm_delayed_acks() {
  for (const uint32_t index : unarmed_.values()) {
    TcpConnection* c = connections_.at(index);
    if (c != nullptr && c->ack_due != MonoTime::never() && !c->has(IN_OUTPUT)) arm(*c);
  }
  unarmed_.clear();
}

void NetStack::expire_timers() {
  while (Timer* timer = wheel_.expire(now_)) {
    TcpConnection& c = by_index(static_cast<TcpTimer*>(timer)->conn);
    if (c.ack_due <= now_) {
      c.ack_due = MonoTime::never();
      want_output(c, NEED_ACK);
    }
    if (c.rtx_due <= now_) on_retransmission_timer(c);
    if (c.state != TcpState::CLOSED && c.long_due <= now_) on_long_timer(c);
    if (c.state == TcpState::CLOSED) {
      free_if_done(c);
    } else {
      arm(c);
    }
  }
}

// RFC 6298 (5.4) to (5.6).
void NetStack::on_retransmission_timer(TcpConnection& c) {
  c.rtx_due = MonoTime::never();
  const bool opening = c.state == TcpState::SYN_SENT || c.state == TcpState::SYN_RECEIVED;
  const bool closed_window = c.has(PERSISTING) || (!opening && c.snd_wnd == 0);
  if (!closed_window && ++c.retries > (opening ? config_.times.syn_retries : config_.times.retries)) {
    fail(c, ETIMEDOUT);
    return;
  }
  ip_.doubt(c.tuple.remote, now_);
  const uint32_t rto_before = c.rtt.rto_us;
  c.rtt.back_off(static_cast<uint32_t>(config_.times.rto_max.us()));
  if (opening) {
    want_output(c, NEED_SYN);
    return;
  }
  c.unset(RTT_TIMING);
  if (closed_window) {
    probe_window(c);
    return;
  }
  if (c.snd_una == c.snd_max) {  // it was not even sent
    c.rtt.rto_us = rto_before;
    want_output(c);
    return;
  }
  ++counters_.timeouts;
  congestion_->on_timeout(c.congestion, c.flight(), c.has(RTO_RECOVERY), now_);
  c.unset(IN_RECOVERY);
  c.set(RTO_RECOVERY);
  c.recover = c.snd_max;
  c.dup_acks = 0;
  give_scoreboard(c);  // RFC 2018 section 8: the receiver may have thrown it away
  c.snd_nxt = c.snd_una;
  want_output(c);
}

// RFC 9293 section 3.8.6.1: what fits, one byte at the least, though the window says no.
void NetStack::probe_window(TcpConnection& c) {
  c.set(PERSISTING);
  c.rtx_due = now_ + microseconds(c.rtt.rto_us);
  if (c.snd_una >= c.snd_end) {
    c.snd_nxt = c.snd_una;  // only a FIN is left, and it needs no window
    want_output(c);
    return;
  }
  const uint32_t bytes = std::min(std::clamp<uint32_t>(c.snd_wnd, 1, c.mss), seq_bytes(c.snd_una, c.snd_end));
  const uint32_t done = send_data(c, c.snd_una, bytes, false);
  if (done == 0) return;
  ++counters_.window_probes;
  c.snd_max = seq_max(c.snd_max, c.snd_una + done);
  if (c.snd_wnd != 0) c.snd_nxt = seq_max(c.snd_nxt, c.snd_una + done);
}

void NetStack::set_send_timer(TcpConnection& c) {
  if (c.snd_una < c.snd_max) {
    if (c.rtx_due == MonoTime::never()) c.rtx_due = now_ + microseconds(c.rtt.rto_us);
    return;
  }
  const bool waiting = c.snd_nxt < c.snd_end || (c.has(FIN_QUEUED) && !c.fin_sent());
  if (!waiting) {
    c.unset(PERSISTING);
    c.rtx_due = MonoTime::never();
  } else if (c.rtx_due == MonoTime::never()) {
    c.set(PERSISTING);
    c.rtx_due = now_ + microseconds(c.rtt.rto_us);
  }
}

void NetStack::on_long_timer(TcpConnection& c) {
  c.long_due = MonoTime::never();
  if (c.state == TcpState::TIME_WAIT) {
    become_closed(c);
    return;
  }
  const bool owned = c.has(OWNED);
  const bool unsent = c.snd_una < c.snd_end || (c.fin_sent() && c.snd_una != c.snd_max);
  if (unsent || !owned) {
    const Duration stuck_max = owned ? config_.times.stuck_max : config_.times.orphan_max;
    const Duration stuck = milliseconds(now_ms() - c.progress_ms);
    if (stuck >= stuck_max) {
      (void)send_bare(c, bare_seq(c), TCP_RST | TCP_ACK);
      ++counters_.resets_sent;
      fail(c, ETIMEDOUT);
      return;
    }
    c.long_due = now_ + (stuck_max - stuck);
    return;
  }
  const Duration idle = milliseconds(now_ms() - c.last_heard_ms);
  if (idle < config_.times.keepalive_interval) c.probes = 0;
  if (idle < config_.times.keepalive_idle && c.probes == 0) {
    c.long_due = now_ + std::min(config_.times.keepalive_idle - idle, config_.times.keepalive_idle);
    return;
  }
  if (c.probes >= config_.times.keepalive_probes) {
    (void)send_bare(c, bare_seq(c), TCP_RST | TCP_ACK);
    ++counters_.resets_sent;
    fail(c, ETIMEDOUT);
    return;
  }
  if (c.probes != 0) ip_.doubt(c.tuple.remote, now_);
  ++c.probes;
  ++counters_.keepalive_probes;
  (void)send_bare(c, c.snd_una - 1, TCP_ACK);  // a number that is acknowledged already: the peer must answer
  c.long_due = now_ + config_.times.keepalive_interval;
}

}  // namespace penstock
