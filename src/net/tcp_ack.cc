// What an ACK tells the sender: what is free, how long it took, what is lost (RFC 5681, 6675, 6582, 3042, 6298).
#include "src/net/net_stack.h"

namespace penstock {
namespace {

constexpr uint32_t RTT_MAX_MS = 600'000;  // a larger one is a stale or invented echo

}  // namespace

// REQUIRES: SND.UNA - MAX.SND.WND <= SEG.ACK <= snd_max.
void NetStack::process_ack(TcpConnection& c, const TcpSegment& segment) {
  const uint32_t window = static_cast<uint32_t>(segment.header.window) << c.snd_wscale;
  const uint32_t fresh = take_sacks(c, segment);
  if (segment.ack > c.snd_una) {
    acknowledge(c, segment.ack, segment.options.has_timestamps && c.has(TIMESTAMPS), segment.options.ts_ecr);
  } else if (segment.ack == c.snd_una && segment.length() == 0 && c.flight() != 0 && c.snd_wnd != 0) {
    // A duplicate: by its news (RFC 6675), or by saying nothing new at all (RFC 5681 section 2).
    if (fresh != 0 || (c.scoreboard == NO_INDEX && window == c.snd_wnd)) duplicate_ack(c);
  }
  if (c.state == TcpState::CLOSED) return;
  if (c.snd_wl1 < segment.seq || (c.snd_wl1 == segment.seq && c.snd_wl2 <= segment.ack)) {
    if (c.has(PERSISTING) && window > c.snd_wnd) {  // the window has opened
      c.unset(PERSISTING);
      c.rtx_due = MonoTime::never();
      c.rtt.restore(static_cast<uint32_t>(config_.times.rto_min.us()),
                    static_cast<uint32_t>(config_.times.rto_max.us()));
    }
    c.snd_wnd = window;
    c.max_snd_wnd = std::max(c.max_snd_wnd, window);
    c.snd_wl1 = segment.seq;
    c.snd_wl2 = segment.ack;
  }
  want_output(c);
}

uint32_t NetStack::take_sacks(TcpConnection& c, const TcpSegment& segment) {
  if (!c.has(SACK_OK) || segment.options.sack_count == 0 || c.flight() == 0) return 0;
  if (c.scoreboard == NO_INDEX) {
    const uint32_t index = scoreboards_.take();
    if (index == NO_INDEX) {
      ++counters_.scoreboards_full;
      return 0;
    }
    c.scoreboard = index;
  }
  SackScoreboard& board = scoreboards_[c.scoreboard].board;
  const uint32_t fresh = board.update(seq_max(c.snd_una, segment.ack), c.snd_max,
                                      {segment.options.sacks.data(), segment.options.sack_count});
  if (board.empty()) give_scoreboard(c);
  return fresh;
}

void NetStack::take_rtt(TcpConnection& c, SeqNum ack, bool has_ts_ecr, uint32_t ts_ecr) {
  const uint32_t rto_min = static_cast<uint32_t>(config_.times.rto_min.us());
  const uint32_t rto_max = static_cast<uint32_t>(config_.times.rto_max.us());
  if (c.has(RTT_TIMING)) {
    if (ack <= c.rtt_seq) return;
    c.unset(RTT_TIMING);
    c.rtt.sample(
        static_cast<uint32_t>(std::clamp<int64_t>((now_ - c.rtt_started).us(), 1, int64_t{RTT_MAX_MS} * 1'000)),
        rto_min, rto_max);
  } else if (has_ts_ecr && ts_ecr != 0) {
    const uint32_t rtt_ms = ts_now(c) - ts_ecr;  // unambiguous even of what was sent twice (RFC 7323 section 4)
    // What is acknowledged now went out a round trip before the last progress at the earliest. Who says more invents,
    // and would have us wait for a minute when his next segment is lost.
    RttEstimator known = c.rtt;
    known.restore(rto_min, rto_max);
    const uint64_t on_the_way_ms = uint64_t{now_ms() - c.progress_ms} + known.rto_us / 1'000;
    if (rtt_ms <= std::min<uint64_t>(on_the_way_ms, RTT_MAX_MS))
      c.rtt.sample(std::max(rtt_ms * 1'000, 1U), rto_min, rto_max);
  }
}

// REQUIRES: SND.UNA < ack <= snd_max.
void NetStack::acknowledge(TcpConnection& c, SeqNum ack, bool has_ts_ecr, uint32_t ts_ecr) {
  const uint32_t acked = seq_bytes(c.snd_una, ack);
  const bool cwnd_limited = c.flight() + c.mss >= c.congestion.cwnd ||
                            (c.congestion.cwnd < c.congestion.ssthresh && c.flight() * 2 >= c.congestion.cwnd);
  take_rtt(c, ack, has_ts_ecr, ts_ecr);
  c.retries = 0;
  c.progress_ms = now_ms();
  uint32_t bytes = c.snd_una < c.snd_end ? std::min(acked, seq_bytes(c.snd_una, c.snd_end)) : 0;
  while (bytes != 0) {
    const SendPiece& piece = pieces_[c.una_piece];
    const uint32_t step = std::min(bytes, piece.size - c.una_offset);
    bytes -= step;
    c.una_offset += step;
    if (c.una_offset == piece.size) {
      c.una_piece = piece.next;
      c.una_offset = 0;
    }
  }
  c.snd_una = ack;
  c.snd_nxt = seq_max(c.snd_nxt, ack);
  reap_pieces(c);
  if (c.scoreboard != NO_INDEX) scoreboards_[c.scoreboard].board.advance(ack);
  if (c.has(IN_RECOVERY)) {
    if (ack >= c.recover) {
      c.unset(IN_RECOVERY);
      c.dup_acks = 0;
      // RFC 6582 section 3.2 step 3 (1): no burst.
      c.congestion.cwnd = std::min(c.congestion.cwnd, c.congestion.ssthresh);
      if (c.scoreboard == NO_INDEX)
        c.congestion.cwnd = std::min(c.congestion.ssthresh, std::max<uint32_t>(c.flight(), c.mss) + c.mss);
    } else {
      partial_ack(c, acked);
    }
  } else {
    c.dup_acks = 0;
    if (c.has(RTO_RECOVERY) && ack >= c.recover) c.unset(RTO_RECOVERY);
    congestion_->on_ack(c.congestion,
                        {.now = now_, .acked_bytes = acked, .srtt_us = c.rtt.srtt_us, .cwnd_limited = cwnd_limited});
  }
  if (c.scoreboard != NO_INDEX && scoreboards_[c.scoreboard].board.empty()) give_scoreboard(c);
  c.unset(PERSISTING);
  c.rtx_due = c.snd_una == c.snd_max ? MonoTime::never() : now_ + microseconds(c.rtt.rto_us);  // RFC 6298 (5.2), (5.3)
}

// RFC 6582 section 3.2 step 3 (2): the next hole is lost as well. With SACK the scoreboard knows better.
void NetStack::partial_ack(TcpConnection& c, uint32_t acked) {
  if (c.scoreboard != NO_INDEX) {
    c.high_rxt = seq_max(c.high_rxt, c.snd_una);
    return;
  }
  uint32_t& cwnd = c.congestion.cwnd;
  cwnd -= std::min(acked, cwnd - std::min<uint32_t>(cwnd, c.mss));
  if (acked >= c.mss) cwnd += c.mss;
  c.high_rxt = c.snd_una;
}

void NetStack::duplicate_ack(TcpConnection& c) {
  if (c.has(RTO_RECOVERY)) return;  // RFC 6582 section 4.1: caused by what the timeout sends again
  if (c.has(IN_RECOVERY)) {
    if (c.scoreboard == NO_INDEX) c.congestion.cwnd += c.mss;
    return;
  }
  if (c.dup_acks < UINT8_MAX) ++c.dup_acks;
  const bool lost = c.scoreboard != NO_INDEX && scoreboards_[c.scoreboard].board.is_lost(c.snd_una, c.mss);
  if (c.dup_acks >= SackScoreboard::DUP_THRESH || lost) enter_recovery(c);
}

void NetStack::enter_recovery(TcpConnection& c) {
  ++counters_.recoveries;
  congestion_->on_congestion(c.congestion, c.flight(), now_);
  c.recover = c.snd_max;
  c.high_rxt = c.snd_una;
  c.unset(RTT_TIMING);
  c.set(IN_RECOVERY);
  if (c.scoreboard == NO_INDEX) c.congestion.cwnd += SackScoreboard::DUP_THRESH * uint32_t{c.mss};
}

}  // namespace penstock
