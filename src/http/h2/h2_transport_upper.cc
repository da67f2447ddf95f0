// H2Transport as its upper side sees it: what it is told, and what it asks for.

#include "src/http/h2/h2_transport.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr Duration GOAWAY_PATIENCE = seconds(2);

}  // namespace

// ---- events

void H2Transport::tell(Carrier& carrier) {
  if (carrier.listed || !carrier.upper_open) return;
  carrier.listed = true;
  telling_.push_back(&carrier);
}

size_t H2Transport::emit_carriers(std::span<TransportEvent> out) {
  size_t count = 0;
  size_t done = 0;
  for (; done < telling_.size(); ++done) {
    if (out.size() - count < 3) break;
    Carrier& carrier = *telling_[done];
    carrier.listed = false;
    if (!carrier.upper_open || carrier.failed_told) continue;
    TransportEvent event{.conn = carrier.handle, .context = carrier.context};
    if (carrier.sent && !carrier.failed) {
      event.kind = TransportEventKind::SENT;
      out[count++] = event;
    }
    carrier.sent = false;
    if (carrier.peer_left && !carrier.peer_closed_told && !carrier.failed) {
      carrier.peer_closed_told = true;
      event.kind = TransportEventKind::PEER_CLOSED;
      out[count++] = event;
    }
    if (carrier.failed) {
      carrier.failed_told = true;
      event.kind = TransportEventKind::FAILED;
      event.error = ECONNRESET;
      out[count++] = event;
    }
  }
  telling_.erase(telling_.begin(), telling_.begin() + static_cast<ptrdiff_t>(done));
  return count;
}

size_t H2Transport::emit(std::span<TransportEvent> out) {
  size_t count = 0;
  size_t noted = 0;
  for (; noted < shared_->notes.size() && count < out.size(); ++noted) {
    const H2Shared::Note& note = shared_->notes[noted];
    out[count++] = {.error = static_cast<int32_t>(note.reason),
                    .id = note.listener,
                    .kind = TransportEventKind::NOTED,
                    .peer = note.peer};
  }
  shared_->notes.erase(shared_->notes.begin(), shared_->notes.begin() + static_cast<ptrdiff_t>(noted));
  // Each of those that are ready now once: what a stream has beyond that waits for the next poll().
  const H2Stream* const last = shared_->last_ready;
  while (count < out.size()) {
    H2Stream* const stream = shared_->take_ready();
    if (stream == nullptr) break;
    const bool was_last = stream == last;
    if (step(*stream, out, count)) {
      shared_->mark_ready(*stream);
    } else {
      shared_->give_if_done(*stream);
    }
    if (was_last) break;
  }
  return count + emit_carriers(out.subspan(count));
}

// What the stream has to tell. True: there is more, for the next poll().
bool H2Transport::step(H2Stream& s, std::span<TransportEvent> out, size_t& count) {
  const Handle handle = handle_of(s);
  const auto add = [&](TransportEventKind kind) -> TransportEvent& {
    out[count] = {.conn = handle, .context = s.context, .kind = kind};
    return out[count++];
  };
  if (!s.announced) {
    if (s.failed || s.session == nullptr) {
      s.upper_open = false;  // it came and went between two looks
      return false;
    }
    const Link& link = links_[s.session->carrier.index];
    TransportEvent& event = add(TransportEventKind::ACCEPTED);
    event.id = link.listener;
    event.peer = link.peer;
    s.announced = true;
    s.accepted_turn = turn_;
    return true;
  }
  if (s.accepted_turn == turn_) return true;
  if (s.ended) {
    if (s.frames_lent > 0) return false;
    add(TransportEventKind::CLOSED);
    s.ended = false;
    return false;
  }
  if (!s.upper_open) return false;
  if (s.failed) {
    if (s.failed_told || s.frames_lent > 0) return false;
    s.failed_told = true;
    s.sending = false;
    add(TransportEventKind::FAILED).error = ECONNRESET;
    return false;
  }
  if (s.sending && s.all_framed() && s.frames_lent == 0) {
    s.sending = false;
    add(TransportEventKind::SENT);
  }
  if (!s.receiving) return false;
  while (H2Block* block = s.first_block) {
    if (count == out.size()) return true;
    s.first_block = block->next;
    if (s.first_block == nullptr) s.last_block = nullptr;
    TransportEvent& event = add(TransportEventKind::RECEIVED);
    event.data = block->bytes;
    event.size = block->size;
    event.buffer = H2Block::BUFFER | shared_->blocks.handle_of(block).index;
  }
  if (s.peer_closed && !s.peer_closed_told) {
    if (count == out.size()) return true;
    s.peer_closed_told = true;
    add(TransportEventKind::PEER_CLOSED);
  }
  return false;
}

// ---- calls

bool H2Transport::is_open(Handle conn) const {
  if (is_stream(conn)) {
    const H2Stream* found = shared_->streams.find({conn.index - stream_base_, conn.generation});
    return found != nullptr && found->upper_open && found->announced;
  }
  if (!below_.is_open(conn)) return false;
  const Carrier* carrier = carrier_of(conn);
  return carrier == nullptr || carrier->upper_open;
}

void H2Transport::set_context(Handle conn, void* context) {
  if (is_stream(conn)) {
    stream(conn).context = context;
  } else if (Carrier* carrier = carrier_of(conn); carrier != nullptr) {
    carrier->context = context;
  } else {
    below_.set_context(conn, context);
  }
}

void H2Transport::release(uint32_t buffer) {
  if (buffer >> 30 != 1) return below_.release(buffer);
  H2Block* block = shared_->blocks.at(buffer & ~H2Block::BUFFER);
  ASSERT(block != nullptr);
  H2Stream* const of = shared_->streams.find(block->stream);
  if (of != nullptr && of->session != nullptr && block->credit > 0) {
    if (Carrier* carrier = carrier_of(of->session->carrier); carrier != nullptr) mark_dirty(*carrier);
  }
  shared_->give_block(*block);
}

void H2Transport::send(Handle conn, std::span<const SendPart> parts, bool last) {
  if (is_stream(conn)) {
    H2Stream& s = stream(conn);
    ASSERT(!s.sending);
    if (s.failed) return;  // crosses with FAILED, which ends it
    if (!s.wire_open) {    // behind the end of the answer, which the peer has
      s.sending = true;
      shared_->mark_ready(s);
      return;
    }
    mark_dirty(*carrier_of(s.session->carrier));
    s.session->send(s, parts);
    return;
  }
  Carrier* carrier = carrier_of(conn);
  if (carrier == nullptr) {
    link_of(conn).mode = Mode::PASS;  // who is refused before it has said anything is told in HTTP/1
    below_.send(conn, parts, last);
    return;
  }
  // The one thing that is ever said on a carrier is that there are too many; in HTTP/2 that is said by GOAWAY.
  carrier->session->refuse_new();
  carrier->sent = true;
  mark_dirty(*carrier);
  tell(*carrier);
}

uint64_t H2Transport::bytes_sent(Handle conn) const {
  if (!is_stream(conn)) return below_.bytes_sent(conn);
  H2Stream& s = stream(conn);
  if (s.session == nullptr) return s.sent_bytes + s.credited_bytes;
  const H2Session& session = *s.session;
  const uint64_t total = below_.bytes_sent(session.carrier);
  const uint64_t sent = total - s.connection_mark;
  const uint64_t data = std::min(sent, session.data_framed() - s.data_mark);
  const bool is_shut = s.held || !session.connection_window_is_open();
  if (session.window_is_open(s)) s.credited_bytes += is_shut ? data : sent;
  s.connection_mark = total;
  s.data_mark += data;
  return s.sent_bytes + s.credited_bytes;
}

void H2Transport::no_hurry(Handle conn) {
  if (!is_stream(conn)) below_.no_hurry(conn);
}

uint64_t H2Transport::bytes_held(Handle conn) {
  if (!is_stream(conn)) return below_.bytes_held(conn);
  const H2Stream& s = stream(conn);
  return s.session != nullptr ? below_.bytes_held(s.session->carrier) : 0;
}

void H2Transport::set_receiving(Handle conn, bool on) {
  if (is_stream(conn)) {
    H2Stream& s = stream(conn);
    s.receiving = on;
    if (on) shared_->mark_ready(s);
  } else if (carrier_of(conn) == nullptr) {
    below_.set_receiving(conn, on);
  }
}

void H2Transport::shutdown_send(Handle conn) {
  if (!is_stream(conn)) {
    if (carrier_of(conn) == nullptr) below_.shutdown_send(conn);
    return;
  }
  H2Stream& s = stream(conn);
  ASSERT(!s.sending);
  if (!s.wire_open || s.failed) return;
  mark_dirty(*carrier_of(s.session->carrier));
  s.session->finish_sending(s);
}

bool H2Transport::end(Handle conn, StreamEnd how) {
  if (!is_stream(conn)) {
    const bool reset = how != StreamEnd::CLOSE;
    Carrier* carrier = carrier_of(conn);
    if (carrier != nullptr) return end_carrier(*carrier, reset);
    return reset ? below_.reset(conn) : below_.close(conn);
  }
  H2Stream& s = stream(conn);
  s.upper_open = false;
  if (s.session != nullptr) {
    mark_dirty(*carrier_of(s.session->carrier));
    if (s.wire_open) s.session->close(s, how);
  }
  while (H2Block* block = s.first_block) {
    s.first_block = block->next;
    shared_->give_block(*block);
  }
  s.last_block = nullptr;
  s.ended = s.sending && s.frames_lent > 0;
  s.sending = false;
  shared_->mark_ready(s);
  return s.ended;
}

bool H2Transport::end_carrier(Carrier& carrier, bool reset) {
  carrier.upper_open = false;
  const bool waits = carrier.ending && !carrier.peer_closed && !carrier.session->is_flooded();
  if (carrier.below_failed || reset || (carrier.lingering && !waits)) {
    carrier.session->lose(ECONNRESET);
    end_below(carrier, reset);
    return false;
  }
  if (!carrier.lingering) {
    carrier.session->terminate(Reason::NONE);
    mark_dirty(carrier);
    end_later(carrier, shared_->now + GOAWAY_PATIENCE);
  }
  return false;
}

PeerAddress H2Transport::local_address(Handle conn) const {
  if (!is_stream(conn)) return below_.local_address(conn);
  const H2Stream& s = stream(conn);
  return s.session != nullptr ? below_.local_address(s.session->carrier) : PeerAddress{};
}

LayerFacts H2Transport::layer(Handle conn) const {
  if (!is_stream(conn)) {
    LayerFacts plain = below_.layer(conn);
    if (carrier_of(conn) != nullptr) plain.http_major = 2;
    return plain;
  }
  const H2Stream& s = stream(conn);
  LayerFacts facts;
  if (s.session != nullptr) {
    const Handle carrier = s.session->carrier;
    const LayerFacts& known = carrier_of(carrier)->facts;
    facts = known.client_rules == 0 ? known : below_.layer(carrier);
    facts.carrier = carrier;
  }
  facts.stream = true;
  facts.http_major = 2;
  return facts;
}

void H2Transport::drain(Handle conn) {
  if (is_stream(conn)) return;
  Carrier* carrier = carrier_of(conn);
  if (carrier == nullptr) return below_.drain(conn);
  if (carrier->session->is_draining()) {
    carrier->session->refuse_new();
  } else {
    carrier->session->shutdown_notice();
  }
  mark_dirty(*carrier);
}

}  // namespace penstock
