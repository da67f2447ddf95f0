// What the engine sends, beside what the peer has shown of itself.
#include "tests/net_sim/replay.h"

#include <algorithm>

namespace penstock {
namespace {

// Adds [place, behind) to what a map of such ranges has.
void add_range(std::map<uint32_t, uint32_t>& ranges, uint32_t place, uint32_t behind) {
  auto it = ranges.upper_bound(place);
  if (it != ranges.begin() && std::prev(it)->second >= place) --it;
  while (it != ranges.end() && it->first <= behind) {
    place = std::min(place, it->first);
    behind = std::max(behind, it->second);
    it = ranges.erase(it);
  }
  ranges[place] = behind;
}

bool has_range(const std::map<uint32_t, uint32_t>& ranges, uint32_t place, uint32_t behind) {
  const auto it = ranges.upper_bound(place);
  return it != ranges.begin() && std::prev(it)->second >= behind;
}

uint32_t mss_of(const RecordedSegment* syn, bool v4) {
  const uint32_t offered = syn == nullptr ? 0 : syn->options.mss;
  return offered != 0 ? std::max<uint32_t>(offered, NetStack::MSS_MIN) : v4 ? 536 : 1'220;
}

}  // namespace

// ---- what the peer has shown

void Replay::note_acknowledgement(const RecordedSegment& segment) {
  if (segment.options.has_timestamps) ts_vals_.push_back(segment.options.ts_val);
  if (!segment.has(TCP_ACK) || segment.has(TCP_RST)) return;
  const uint32_t place = own_place(segment.tcp.ack);
  const uint32_t window = segment.has(TCP_SYN) || !both_scale()
                              ? segment.tcp.window
                              : uint32_t{segment.tcp.window} << syn_->options.window_scale;
  if (place > acknowledged_) {
    acknowledged_ = place;
    duplicate_acks_ = 0;
    std::erase_if(sacked_, [&](const auto& range) { return range.second <= place; });
  } else if (place == acknowledged_ && segment.length() == 0 && window == window_ && sent_.max > acknowledged_) {
    ++duplicate_acks_;
  }
  window_ = window;
  edge_ = std::max(edge_, place + window);
  for (size_t i = 0; i < segment.options.sack_count; ++i) {
    const uint32_t right = own_place(segment.options.sacks[i].right);
    if (right > place) add_range(sacked_, own_place(segment.options.sacks[i].left), right);  // else RFC 2883
  }
}

// RFC 6675 section 4 (IsLost), and RFC 5681 section 3.2 where there are no SACK blocks.
void Replay::note_missing(const RecordedSegment& segment) {
  const uint32_t mss = mss_of(syn_, recording_.addresses[0].is_v4());
  if (!syn_->options.sack_permitted) {
    if (duplicate_acks_ != 3) return;
    for (uint32_t at = acknowledged_; at < std::min(acknowledged_ + mss / 2, sent_.max); ++at) missing_[at] = step_;
    return;
  }
  if (segment.options.sack_count == 0) return;
  uint32_t above = 0;
  uint32_t from = sent_.max;
  for (auto it = sacked_.rbegin(); it != sacked_.rend(); ++it) {
    if (above > 2 * mss) {
      for (uint32_t at = it->second; at < from; ++at) {
        if (missing_[at] == 0) missing_[at] = step_;
      }
    }
    above += it->second - it->first;
    from = it->first;
  }
  if (above <= 2 * mss) return;
  for (uint32_t at = acknowledged_; at < from; ++at) {
    if (missing_[at] == 0) missing_[at] = step_;
  }
}

void Replay::take_text(const RecordedSegment& segment) {
  if (segment.has(TCP_RST)) {
    reset_ = peer_place(segment.tcp.seq) == rcv_nxt_ && state() != TcpState::TIME_WAIT;  // RFC 1337
    return;
  }
  const uint32_t first = peer_place(segment.tcp.seq);
  const uint32_t behind = first + segment.length();
  if (segment.has(TCP_FIN)) peer_fin_ = behind - 1;
  if (segment.length() == 0 || behind <= rcv_nxt_) return;
  add_range(beyond_, std::max(first, rcv_nxt_), behind);
  if (beyond_.begin()->first != rcv_nxt_) return;
  rcv_nxt_ = beyond_.begin()->second;
  beyond_.erase(beyond_.begin());
}

// ---- what the engine owes it

bool Replay::is_known(const RecordedSegment& segment) const {
  const uint32_t first = peer_place(segment.tcp.seq);
  const uint32_t behind = first + segment.length();
  if (behind == first) return first < rcv_nxt_;
  return behind <= rcv_nxt_ || has_range(beyond_, first, behind);
}

void Replay::expect_answer(const RecordedSegment& segment, const NetCounters& before) {
  const uint32_t first = peer_place(segment.tcp.seq);
  const bool rfc1337 = segment.has(TCP_RST) && state() == TcpState::TIME_WAIT;
  for (size_t i = 1; i < DROP_REASON_COUNT; ++i) {
    if (counters().drops[i] != before.drops[i] && !known_ && !rfc1337)
      complain("the engine refuses it: " + std::string(drop_reason_name(static_cast<DropReason>(i))));
  }
  if (over() || rfc1337) return;
  if (known_) {
    // RFC 9293 section 3.10.7.4: what is not acceptable is answered by an ACK; probes live by it.
    if (!acked_now_) complain("an old segment was not answered");
    return;
  }
  if (segment.length() == 0) return;
  if (first > nxt_before_) {
    if (!acked_now_) return complain("a segment out of order was not answered at once (RFC 5681 section 4.2)");
    if (!syn_->options.sack_permitted || segment.bytes == 0) return;
    const SackBlock& latest = ack_options_.sacks[0];
    const uint32_t shift = recording_.isns[static_cast<size_t>(peer_)] + seq_shift_;
    if (ack_options_.sack_count == 0 || latest.left - shift > first || latest.right - shift < first + segment.bytes)
      complain("the first SACK block is not that of the latest segment (RFC 2018 section 4)");
    return;
  }
  if (acked_now_) return;
  if (had_gap_) complain("a segment that fills a gap was not answered at once (RFC 5681 section 4.2)");
  if (segment.has(TCP_FIN)) complain("a FIN was not answered at once");
  if (ack_owed_since_ == MonoTime::never()) ack_owed_since_ = now_;
  if (segment.bytes >= mss_of(syn_, recording_.addresses[0].is_v4()) - TcpHeader::TIMESTAMP_BYTES &&
      ++full_unacknowledged_ == 2)
    complain("two full segments were not acknowledged (RFC 9293 section 3.8.6.3)");
}

// ---- what the engine sends

void Replay::look_at_frames() {
  const size_t engine = static_cast<size_t>(engine_);
  for (const ScriptDevice::Sent& frame : device_.sent) {
    const std::span<const uint8_t> bytes = std::span(frame.bytes).subspan(EthernetHeader::BYTES);
    IpHeader packet;
    const bool v4 = recording_.addresses[0].is_v4();
    if ((v4 ? parse_ipv4(bytes, false, packet) : parse_ipv6(bytes, packet)) != DropReason::NONE ||
        packet.protocol != IP_PROTOCOL_TCP)
      continue;
    TcpHeader header;
    TcpOptions options;
    const bool good = checksum_good(pseudo_header_sum(packet.source, packet.destination, IP_PROTOCOL_TCP,
                                                      static_cast<uint32_t>(packet.payload.size())) +
                                    internet_sum(packet.payload)) &&
                      parse_tcp(packet.payload, header) == DropReason::NONE &&
                      parse_tcp_options(packet.payload, header, options) == DropReason::NONE;
    if (!good || packet.source != recording_.addresses[engine] ||
        packet.destination != recording_.addresses[1 - engine] || header.source_port != recording_.ports[engine] ||
        header.destination_port != recording_.ports[1 - engine]) {
      complain("the engine sends a broken segment");
      continue;
    }
    look_at_segment(header, options, packet.payload.subspan(header.bytes));
  }
  device_.sent.clear();
}

void Replay::look_at_segment(const TcpHeader& header, const TcpOptions& options, std::span<const uint8_t> data) {
  if ((header.flags & TCP_RST) != 0) {
    if (!over() && owned_) complain("the engine resets the connection");
    return;
  }
  if (over()) return complain("the engine goes on after a reset");
  if ((header.flags & TCP_SYN) != 0) return look_at_syn(header, options);
  if (options.has_timestamps != syn_->options.has_timestamps)
    complain("timestamps are not as agreed on (RFC 7323 section 3.2)");
  if (options.has_timestamps) last_ts_ = options.ts_val;
  look_at_acknowledgement(header, options);
  look_at_data(header, data);
}

void Replay::look_at_syn(const TcpHeader& header, const TcpOptions& options) {
  if (sent_.max != 0 && header.seq != iss_) complain("a SYN that is sent again has another number");
  iss_ = header.seq;
  sent_.max = std::max(sent_.max, 1U);
  own_scale_ = options.window_scale;
  if (options.has_timestamps) last_ts_ = options.ts_val;
  if (options.mss == 0) complain("a SYN without MSS");
  if (engine_ == Side::CLIENT) return;
  acked_now_ = true;
  const TcpOptions& theirs = syn_->options;
  if (header.ack != syn_->tcp.seq + seq_shift_ + 1) complain("a SYN that acknowledges something else");
  if (options.has_timestamps != theirs.has_timestamps || options.sack_permitted != theirs.sack_permitted ||
      options.has_window_scale != theirs.has_window_scale)
    complain("the options of the SYN-ACK are not those that the SYN offers");
}

void Replay::look_at_acknowledgement(const TcpHeader& header, const TcpOptions& options) {
  const uint32_t shift = recording_.isns[static_cast<size_t>(peer_)] + seq_shift_;
  const uint32_t place = header.ack - shift;
  if (place != rcv_nxt_)
    complain("the engine acknowledges " + std::to_string(place) + ", and the peer has sent " +
             std::to_string(rcv_nxt_));
  const uint32_t edge = place + (uint32_t{header.window} << (both_scale() ? own_scale_ : 0));
  if (edge < edge_told_) complain("the right edge of the window moves back (RFC 9293 SHLD-14)");
  edge_told_ = edge;
  if (options.has_timestamps && std::find(ts_vals_.begin(), ts_vals_.end(), options.ts_ecr) == ts_vals_.end())
    complain("it echoes a timestamp that never came");
  if (options.sack_count != 0 && !syn_->options.sack_permitted) complain("SACK blocks that were not agreed on");
  for (size_t i = 0; i < options.sack_count; ++i) {
    if (!has_range(beyond_, options.sacks[i].left - shift, options.sacks[i].right - shift))
      complain("a SACK block of what never came");
  }
  ack_options_ = options;
  acked_now_ = true;
  ack_owed_since_ = MonoTime::never();
  full_unacknowledged_ = 0;
}

void Replay::look_at_data(const TcpHeader& header, std::span<const uint8_t> data) {
  const uint32_t place = header.seq - iss_;
  const bool fin = (header.flags & TCP_FIN) != 0;
  const auto size = static_cast<uint32_t>(data.size());
  const uint32_t behind = place + size + (fin ? 1 : 0);
  if (place < acknowledged_ && behind == place) complain("an ACK with an old number, which nobody looks at");
  if (behind > sent_.last.size() || place > sent_.max) return complain("a number that is far out");
  for (uint32_t i = 0; i < size; ++i) {
    if (data[i] == byte_at(engine_, place + i)) continue;
    complain("a wrong byte was sent, at " + std::to_string(place + i));
    break;
  }
  const bool probe = window_ == 0 && size == 1;
  if (place + size > edge_ && size != 0 && !probe) complain("data beyond the peer's window");
  if (size + header.bytes - TcpHeader::BYTES > mss_of(syn_, recording_.addresses[0].is_v4()))
    complain("a segment larger than the peer's MSS");
  if (size != 0 && counters().timeouts == 0 && has_range(sacked_, place, place + size))
    complain("it sends again what the peer has: " + std::to_string(place));
  for (uint32_t at = place; at < behind; ++at) sent_.last[at] = step_;
  sent_.max = std::max(sent_.max, behind);
}

}  // namespace penstock
