// Driving: the recording's segments into the engine, and its owner's deeds. What the engine sends is looked at in
// replay_checks.cc.
#include "tests/net_sim/replay.h"

#include "src/net/wire/ndp.h"

#include <algorithm>
#include <cerrno>

namespace penstock {
namespace {

constexpr Duration PATIENCE = seconds(5);        // with an engine that still has something to send
constexpr Duration ACK_MAX = milliseconds(500);  // RFC 9293 MUST-58
constexpr Duration REST = seconds(150);          // whatever was the matter, all is over then: TIME-WAIT, orphans

MacAddress mac_at(const RecordedSegment& segment, size_t at) {
  MacAddress mac;
  std::copy_n(segment.headers.begin() + static_cast<ptrdiff_t>(at), 6, mac.bytes.begin());
  return mac;
}

}  // namespace

Replay::Replay(const Recording& recording, Side engine)
    : recording_(recording), engine_(engine), peer_(other_side(engine)) {
  NetConfig config = TcpBench::default_config();
  const RecordedSegment& first = recording.segments.front();  // the client's
  config.addresses.mac = mac_at(first, engine == Side::SERVER ? 0 : 6);
  const IpAddress& own = recording.addresses[static_cast<size_t>(engine)];
  config.addresses.v4 = own.is_v4() ? own : IpAddress::v4(0);
  config.addresses.v6 = own.is_v4() ? IpAddress{} : own;
  config.limits.send_pieces_max = 512;
  config.limits.receive_holds_max = 512;
  config.limits.holds_per_connection_max = 256;
  config.limits.receive_window_bytes = 256 * 1'024;
  stack_ = std::make_unique<NetStack>(config, device_, now_);
  if (engine == Side::SERVER) ASSERT(stack_->listen(recording.ports[1], 7));
  uint32_t peer_bytes = 0;
  uint32_t own_numbers = 0;
  for (const RecordedSegment& segment : recording.segments) {
    if (segment.from == engine_) continue;
    if (!segment.has(TCP_RST)) peer_bytes = std::max(peer_bytes, peer_place(segment.tcp.seq) + segment.bytes);
    if (segment.has(TCP_ACK)) own_numbers = std::max(own_numbers, own_place(segment.tcp.ack));
  }
  seq_shift_ = 0U - peer_bytes / 2 - recording.isns[static_cast<size_t>(peer_)];
  constexpr uint32_t UNACKNOWLEDGED_MAX = 100'000;
  sent_.last.resize(own_numbers + UNACKNOWLEDGED_MAX);
  missing_.resize(sent_.last.size());
  introduce();
}

Replay::~Replay() = default;

// The peer asks who has our address, so that we know its own.
void Replay::introduce() {
  const RecordedSegment& first = recording_.segments.front();
  const MacAddress peer_mac = mac_at(first, peer_ == Side::CLIENT ? 6 : 0);
  const MacAddress own_mac = mac_at(first, peer_ == Side::CLIENT ? 0 : 6);
  const IpAddress& peer = recording_.addresses[static_cast<size_t>(peer_)];
  const IpAddress& own = recording_.addresses[static_cast<size_t>(engine_)];
  std::vector<uint8_t> frame;
  if (own.is_v4()) {
    frame.resize(EthernetHeader::BYTES + ArpPacket::BYTES);
    write_ethernet(frame.data(), {.destination = MacAddress::broadcast(), .source = peer_mac, .type = 0x0806});
    write_arp(&frame[EthernetHeader::BYTES],
              {.request = true, .sender_mac = peer_mac, .sender = peer, .target_mac = {}, .target = own});
  } else {
    frame.resize(EthernetHeader::BYTES + IpHeader::V6_BYTES + NeighbourMessage::BYTES);
    write_ethernet(frame.data(), {.destination = own_mac, .source = peer_mac, .type = 0x86dd});
    write_ip(&frame[EthernetHeader::BYTES],
             {.source = peer, .destination = own, .protocol = IP_PROTOCOL_ICMPV6, .hop_limit = 255},
             NeighbourMessage::BYTES);
    write_ndp(&frame[EthernetHeader::BYTES + IpHeader::V6_BYTES],
              {.solicitation = true, .target = own, .has_mac = true, .mac = peer_mac}, peer, own);
  }
  device_.incoming.push_back(std::move(frame));
  turn();
  device_.sent.clear();
}

void Replay::complain(const std::string& what) {
  if (faults_.size() < 2'000) faults_ += "segment " + std::to_string(step_) + ": " + what + "\n";
}

void Replay::run() {
  const Duration first = recording_.segments.front().at;
  for (const RecordedSegment& segment : recording_.segments) {
    const size_t index = step_++;
    pass_until(begin_ + (segment.at - first));
    if (segment.from == engine_) {
      act(index);
      continue;
    }
    if (segment.has(TCP_SYN)) syn_ = &segment;
    RecordedSegment now = segment;
    if (!over() && now.has(TCP_ACK)) shorten(now);
    inject(now);
    if (now.has(TCP_ACK)) last_ = &segment;
    if (window_ == 0 && acknowledged_ != 0 && !over()) queue_what_waits(index);
  }
  // What was shortened, in full.
  for (MonoTime limit = now_ + PATIENCE; !over() && acknowledged_ < own_place(last_->tcp.ack) && now_ < limit;) {
    ++step_;
    RecordedSegment again = *last_;
    again.bytes = 0;
    again.options.sack_count = 0;
    again.tcp.seq = recording_.isns[static_cast<size_t>(peer_)] + rcv_nxt_;
    again.tcp.flags = TCP_ACK;
    shorten(again);
    const uint32_t before = acknowledged_;
    if (own_place(again.tcp.ack) > before) inject(again);
    if (acknowledged_ != before) limit = now_ + PATIENCE;
    pass_until(now_ + milliseconds(1));
  }
  finish();
}

// ---- what the owner does

void Replay::act(size_t index) {
  const RecordedSegment& segment = recording_.segments[index];
  const auto peer = static_cast<size_t>(peer_);
  if (segment.has(TCP_SYN) && engine_ == Side::CLIENT && !conn_.valid()) {
    conn_ = stack_->connect(recording_.addresses[peer], recording_.ports[peer],
                            recording_.ports[static_cast<size_t>(engine_)]);
    ASSERT(conn_.valid());
    owned_ = true;
  }
  if (over() || segment.has(TCP_SYN)) return turn();
  if (!owned_) return complain("the recorded peer was answered, and the engine has not accepted it");
  if (segment.has(TCP_RST)) {
    (void)stack_->reset(conn_);
    owned_ = false;
    ended_by_us_ = true;
    return turn();
  }
  if (segment.bytes != 0) queue_until(own_place(segment.tcp.seq) + segment.bytes - 1);
  if (is_full(segment)) queue_what_waits(index);
  if (segment.has(TCP_FIN) && !fin_queued_) {
    fin_queued_ = true;
    we_closed_first_ = !peer_closed_;
    stack_->shutdown_send(conn_);
  }
  stack_->submit();
  turn();
}

void Replay::queue_until(uint32_t bytes) {
  if (bytes <= queued_) return;
  auto memory = std::make_unique<std::vector<uint8_t>>(bytes - queued_);
  for (uint32_t i = 0; i < memory->size(); ++i) (*memory)[i] = byte_at(engine_, 1 + queued_ + i);
  const NetPart part{.data = memory->data(), .size = bytes - queued_};
  if (!stack_->send(conn_, {&part, 1}, bytes)) complain("send() was refused");
  memory_.push_back(std::move(memory));
  queued_ = bytes;
}

// Behind a full segment there was more to send, as a rule.
bool Replay::is_full(const RecordedSegment& segment) const {
  return segment.bytes != 0 && segment.bytes + segment.tcp.bytes - TcpHeader::BYTES >= syn_->options.mss;
}

// What the recording shows later, before the peer says anything more, was there before: behind a full segment, or when
// the peer's window is shut.
void Replay::queue_what_waits(size_t index) {
  for (size_t i = index + 1; i < recording_.segments.size(); ++i) {
    const RecordedSegment& later = recording_.segments[i];
    if (later.bytes == 0) continue;
    if (later.from != engine_) break;
    queue_until(own_place(later.tcp.seq) + later.bytes - 1);
    if (!is_full(later)) break;
  }
  stack_->submit();
  turn();
}

void Replay::take_events() {
  NetEvent events[32];
  while (const size_t count = stack_->poll(now_, events)) {
    for (const NetEvent& event : std::span(events).first(count)) {
      switch (event.kind) {
        case NetEventKind::ACCEPTED:
          conn_ = event.conn;
          owned_ = true;
          break;
        case NetEventKind::RECEIVED:
          for (uint32_t i = 0; i < event.size; ++i, ++received_) {
            if (event.data[i] == byte_at(peer_, 1 + received_)) continue;
            complain("a wrong byte was handed up, at " + std::to_string(received_));
            break;
          }
          stack_->release(event.buffer);
          break;
        case NetEventKind::PEER_CLOSED:
          peer_closed_ = true;
          break;
        case NetEventKind::SENT:
          told_sent_ = static_cast<uint32_t>(event.token);
          break;
        case NetEventKind::FAILED:
          failed_ = true;
          if (!reset_ || event.error != ECONNRESET)
            complain("the connection has failed: " + std::to_string(event.error));
          break;
        default:
          break;
      }
    }
  }
}

// ---- what the peer does

// Of our numbers from `from` on, as far as the peer can have them: sent, and sent again since it has missed them.
uint32_t Replay::receivable(uint32_t from, uint32_t behind) const {
  for (; from < std::min(behind, sent_.max); ++from) {
    if (missing_[from] != 0 && sent_.last[from] < missing_[from]) return from;
  }
  return from;
}

void Replay::shorten(RecordedSegment& segment) {
  const uint32_t isn = recording_.isns[static_cast<size_t>(engine_)];
  const uint32_t place = own_place(segment.tcp.ack);
  uint32_t shorter = place <= acknowledged_ ? place : receivable(acknowledged_, place);
  bool less = shorter != place;
  segment.tcp.ack = isn + shorter;
  size_t count = 0;
  for (size_t i = 0; i < segment.options.sack_count; ++i) {
    SackBlock block = segment.options.sacks[i];
    const uint32_t right = own_place(block.right);
    const uint32_t end = right <= place ? right : receivable(own_place(block.left), right);
    less |= end != right;
    block.right = isn + end;
    if (end > own_place(block.left)) segment.options.sacks[count++] = block;
  }
  segment.options.sack_count = static_cast<uint8_t>(count);
  shortened_ += less ? 1 : 0;
}

void Replay::inject(const RecordedSegment& segment) {
  const NetCounters before = stack_->counters();
  nxt_before_ = rcv_nxt_;
  had_gap_ = !beyond_.empty();
  known_ = is_known(segment);
  const bool was_over = over();
  if (!was_over) {
    note_acknowledgement(segment);
    note_missing(segment);
    take_text(segment);
  }
  acked_now_ = false;
  device_.incoming.push_back(frame_of(segment));
  turn();
  if (!was_over) expect_answer(segment, before);
}

// As it was recorded, with other numbers where it speaks of ours, and its own moved.
std::vector<uint8_t> Replay::frame_of(const RecordedSegment& segment) {
  std::vector<uint8_t> frame = segment.headers;
  uint8_t* tcp = &frame[segment.tcp_at];
  store_be32(tcp + 4, segment.tcp.seq + seq_shift_);
  if (segment.has(TCP_ACK)) store_be32(tcp + 8, iss_ + own_place(segment.tcp.ack));
  move_options(tcp, segment);
  store_be16(tcp + TCP_CHECKSUM_OFFSET, 0);
  const uint32_t place = peer_place(segment.tcp.seq) + (segment.has(TCP_SYN) ? 1 : 0);
  for (uint32_t i = 0; i < segment.bytes; ++i) frame.push_back(byte_at(peer_, place + i));
  const std::span<const uint8_t> bytes = std::span(frame).subspan(segment.tcp_at);
  const InternetSum sum = pseudo_header_sum(recording_.addresses[static_cast<size_t>(peer_)],
                                            recording_.addresses[static_cast<size_t>(engine_)], IP_PROTOCOL_TCP,
                                            static_cast<uint32_t>(bytes.size())) +
                          internet_sum(bytes);
  store_be16(&frame[segment.tcp_at + TCP_CHECKSUM_OFFSET], checksum_of(sum));
  return frame;
}

// Timestamps echo what the engine sent last; SACK blocks are those that are left.
void Replay::move_options(uint8_t* tcp, const RecordedSegment& segment) const {
  constexpr uint8_t END = 0;
  constexpr uint8_t NOP = 1;
  constexpr uint8_t SACK = 5;
  constexpr uint8_t TIMESTAMP = 8;
  for (size_t at = TcpHeader::BYTES; at < segment.tcp.bytes && tcp[at] != END;) {
    if (tcp[at] == NOP) {
      ++at;
      continue;
    }
    const size_t bytes = tcp[at + 1];
    if (tcp[at] == TIMESTAMP && load_be32(tcp + at + 6) != 0) store_be32(tcp + at + 6, last_ts_);
    if (tcp[at] == SACK) {
      const size_t count = segment.options.sack_count;
      for (size_t i = 0; i < count; ++i) {
        store_be32(tcp + at + 2 + i * 8, iss_ + own_place(segment.options.sacks[i].left));
        store_be32(tcp + at + 6 + i * 8, iss_ + own_place(segment.options.sacks[i].right));
      }
      tcp[at + 1] = static_cast<uint8_t>(2 + count * 8);
      const size_t kept = count == 0 ? 0 : tcp[at + 1];
      std::fill(tcp + at + kept, tcp + at + bytes, NOP);
    }
    at += bytes;
  }
}

// ---- time

void Replay::turn() {
  take_events();
  look_at_frames();
}

void Replay::pass_until(MonoTime until) {
  for (MonoTime next = stack_->next_deadline(); next <= until; next = stack_->next_deadline()) {
    now_ = std::max(now_, next);
    turn();
    if (stack_->next_deadline() <= now_) now_ = now_ + microseconds(1);
  }
  now_ = std::max(now_, until);
  turn();
  if (ack_owed_since_ == MonoTime::never() || now_ - ack_owed_since_ <= ACK_MAX || over()) return;
  complain("the peer's data was not acknowledged within half a second");
  ack_owed_since_ = MonoTime::never();
}

void Replay::finish() {
  pass_until(now_ + ACK_MAX + milliseconds(1));
  if (!reset_ && !ended_by_us_) {
    const bool fin = peer_fin_ < rcv_nxt_;
    if (received_ != rcv_nxt_ - 1 - (fin ? 1 : 0)) {
      complain("of " + std::to_string(rcv_nxt_ - 1) + " numbers of the peer " + std::to_string(received_) +
               " bytes were handed up");
    }
    if (peer_closed_ != fin) complain("the owner does not know whether the peer has closed");
    if (acknowledged_ != queued_ + 1 + (fin_queued_ ? 1 : 0)) complain("the recording ends before all is acknowledged");
    if (told_sent_ != queued_)
      complain("the owner was told of " + std::to_string(told_sent_) + " bytes sent of " + std::to_string(queued_));
    const TcpState end = we_closed_first_ ? TcpState::TIME_WAIT : TcpState::CLOSED;
    if (fin && fin_queued_ && state() != end) {
      complain("it ends in state " + std::to_string(static_cast<int>(state())));
    }
  }
  if (reset_ && !failed_) complain("the owner was not told of the reset");
  if (owned_) (void)stack_->close(conn_);
  owned_ = false;
  stack_->submit();
  pass_until(now_ + REST);
  if (stack_->lent() != NetStack::Lent{}) complain("the engine still lends something when all is over");
  if (!device_.lent.empty()) complain("the engine keeps frames when all is over");
}

}  // namespace penstock
