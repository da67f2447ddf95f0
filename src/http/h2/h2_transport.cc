// Invariants:
//  - links_[i].carrier is not null exactly in Mode::CARRIER; it stays until `below` has let go of connection i.
//  - A carrier's batch is not null exactly while `below` owes SENT, FAILED or CLOSED for it.
//  - below_.close() of a carrier comes after the upper side's, which keeps the handle its own.

#include "src/http/h2/h2_transport.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr std::string_view PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr uint32_t BLOCKS_PER_STREAM = 2;  // on average, of all streams that can be open
constexpr Duration LINGER_PATIENCE = seconds(1);
constexpr Duration FLOOD_PATIENCE = milliseconds(100);  // for GOAWAY to leave, where the peer lets it
// Answers of ours, to pings and the like, behind which a peer that does not read them is not read.
constexpr size_t QUEUED_MAX = 512;
constexpr size_t QUEUED_LOW = 64;
// Buffers from below that wait for their turn, behind which a peer is not read.
constexpr size_t INPUTS_MAX = 4;

}  // namespace

H2Transport::H2Transport(Transport& below, uint32_t connections_max, uint32_t streams_max, nghttp2_mem* memory)
    : TransportLayer(below),
      stream_base_(connections_max),
      shared_(std::make_unique<H2Shared>(streams_max, BLOCKS_PER_STREAM * streams_max, connections_max)),
      carriers_(connections_max) {
  shared_->memory = memory;
}

H2Transport::~H2Transport() {
  carriers_.for_each([this](Carrier& carrier) {
    drop_inputs(carrier);
    batch_over(carrier, false);
    carrier.session.reset();
  });
}

H2Stream& H2Transport::stream(Handle conn) const {
  H2Stream* found = shared_->streams.find({conn.index - stream_base_, conn.generation});
  ASSERT(found != nullptr && found->upper_open && found->announced);
  return *found;
}

Handle H2Transport::handle_of(const H2Stream& stream) const {
  const Handle handle = shared_->streams.handle_of(&stream);
  return {handle.index + stream_base_, handle.generation};
}

H2Transport::Carrier* H2Transport::carrier_of(Handle conn) const {
  // Where nobody speaks HTTP/2, it is asked for every request, and the links are spread over much memory.
  if (carriers_.count() == 0) return nullptr;
  return conn.index < links_.size() ? links_[conn.index].carrier : nullptr;
}

H2Transport::Link& H2Transport::link_of(Handle conn) {
  ASSERT(conn.index < stream_base_);
  if (links_.size() <= conn.index) links_.resize(conn.index + 1);
  return links_[conn.index];
}

// ---- poll

size_t H2Transport::poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) {
  if (!wanted_) return below_.poll(now, deadline, out);
  ++turn_;
  shared_->now = now;
  // A stream's request comes a batch after its ACCEPTED: that needs no look below. Every other time there is one.
  if (!emitted_alone_ && shared_->first_ready != nullptr) {
    if (const size_t told = emit(out); told > 0) {
      emitted_alone_ = true;
      return told;
    }
  }
  emitted_alone_ = false;
  receive_waiting();
  send_held();
  pump_all();
  take_endings();
  deadline = has_news() ? now : std::min({deadline, next_ending(), next_held()});
  // Of one event below at most two come at once; what else it brings waits in our lists.
  const auto room = std::span(from_below_).first(std::min(from_below_.size(), std::max<size_t>(out.size() / 2, 1)));
  const size_t came = below_.poll(now, deadline, room);
  size_t count = 0;
  for (size_t i = 0; i < came; ++i) count += take(from_below_[i], out.subspan(count));
  return count + emit(out.subspan(count));
}

bool H2Transport::has_news() const {
  return shared_->first_ready != nullptr || !telling_.empty() || !shared_->notes.empty() || !waiting_.empty();
}

// ---- from below

size_t H2Transport::take(const TransportEvent& event, std::span<TransportEvent> out) {
  const bool has_conn = event.kind != TransportEventKind::WOKEN && event.kind != TransportEventKind::NOTED;
  if (event.kind == TransportEventKind::ACCEPTED && !accepted(event)) return 0;
  if (has_conn && event.kind != TransportEventKind::ACCEPTED) {
    Link& link = link_of(event.conn);
    if (link.mode == Mode::CARRIER) {
      carrier_event(*link.carrier, event);
      return 0;
    }
    if (link.mode == Mode::SNIFF && event.kind == TransportEventKind::RECEIVED) return sniff(link, event, out);
  }
  out[0] = event;
  return 1;
}

// False: it is gone before the upper side has heard of it.
bool H2Transport::accepted(const TransportEvent& event) {
  Link& link = link_of(event.conn);
  link = {.listener = event.id, .peer = event.peer};
  const LayerFacts facts = below_.layer(event.conn);
  if (facts.protocol == "h2") {
    if (make_carrier(link, event.conn)) return true;
    (void)below_.reset(event.conn);
    return false;
  }
  if (!facts.secure && shared_->options.cleartext) {
    link.mode = Mode::SNIFF;
  }
  return true;
}

bool H2Transport::make_carrier(Link& link, Handle handle) {
  Carrier* carrier = carriers_.take();
  ASSERT(carrier != nullptr);  // as many as connections
  carrier->session = H2Session::create(*shared_, link.peer, link.listener);
  if (carrier->session == nullptr) {
    carriers_.give(carrier);
    shared_->notes.push_back({link.peer, link.listener, Reason::H2_INTERNAL});
    return false;
  }
  carrier->handle = handle;
  carrier->facts = below_.layer(handle);
  carrier->session->carrier = handle;
  link.mode = Mode::CARRIER;
  link.carrier = carrier;
  mark_dirty(*carrier);
  return true;
}

// Whether the first bytes are the preface (RFC 9113 section 3.4). HTTP/1 knows no method PRI.
size_t H2Transport::sniff(Link& link, const TransportEvent& event, std::span<TransportEvent> out) {
  if (!below_.is_open(event.conn)) {
    below_.release(event.buffer);
    return 0;
  }
  const std::string_view bytes{event.data, event.size};
  const std::string_view wanted = PREFACE.substr(link.held);
  const std::string_view head = bytes.substr(0, wanted.size());
  if (wanted.starts_with(head)) {
    const std::string_view held = PREFACE.substr(0, link.held);
    link.held = static_cast<uint8_t>(link.held + head.size());
    if (link.held == PREFACE.size()) {
      void* const context = event.context;
      if (make_carrier(link, event.conn)) {
        link.carrier->context = context;
        (void)link.carrier->session->receive(held, turn_);
        receive(*link.carrier, {bytes, event.buffer});
        return 0;
      }
      return fail_first(link, event, out);
    }
    below_.release(event.buffer);
    return 0;
  }
  link.mode = Mode::PASS;
  size_t count = 0;
  if (link.held > 0) {  // what it began with is to be parsed, too
    H2Block* block = shared_->blocks.take();
    if (block == nullptr) {
      shared_->notes.push_back({link.peer, link.listener, Reason::H2_BUSY});
      return fail_first(link, event, out);
    }
    std::ranges::copy(PREFACE.substr(0, link.held), block->bytes);
    block->size = link.held;
    out[count++] = {.conn = event.conn,
                    .context = event.context,
                    .data = block->bytes,
                    .size = block->size,
                    .buffer = H2Block::BUFFER | shared_->blocks.handle_of(block).index,
                    .kind = TransportEventKind::RECEIVED};
  }
  out[count++] = event;
  return count;
}

// What it began with is lost for want of memory, which is noted: nothing that it says later can be understood.
size_t H2Transport::fail_first(Link& link, const TransportEvent& event, std::span<TransportEvent> out) {
  link.mode = Mode::PASS;
  below_.release(event.buffer);
  out[0] = {.conn = event.conn, .context = event.context, .error = ENOMEM, .kind = TransportEventKind::FAILED};
  return 1;
}

void H2Transport::carrier_event(Carrier& carrier, const TransportEvent& event) {
  switch (event.kind) {
    case TransportEventKind::RECEIVED:
      receive(carrier, {{event.data, event.size}, event.buffer});
      break;
    case TransportEventKind::PEER_CLOSED:
      if (!carrier.below_open) break;
      carrier.peer_closed = true;
      if (carrier.inputs.empty()) peer_left(carrier);
      break;
    case TransportEventKind::SENT:
      batch_over(carrier, true);
      mark_dirty(carrier);
      break;
    case TransportEventKind::FAILED:
      batch_over(carrier, false);
      drop_inputs(carrier);
      carrier.below_failed = carrier.failed = true;
      carrier.session->lose(event.error);
      tell(carrier);
      if (!carrier.upper_open) end_below(carrier, false);
      break;
    case TransportEventKind::CLOSED:
      batch_over(carrier, false);
      give(carrier);
      break;
    default:
      ASSERT(false);
  }
}

void H2Transport::receive(Carrier& carrier, Input input) {
  if (!carrier.inputs.empty() || !use(carrier, input)) carrier.inputs.push_back(input);
  if (carrier.inputs.empty() || carrier.waiting) return;
  carrier.waiting = true;
  waiting_.push_back(&carrier);
}

// False: what is left of it is for another turn.
bool H2Transport::use(Carrier& carrier, Input& input) {
  if (carrier.below_open && !carrier.below_failed && !carrier.lingering) {
    input.bytes.remove_prefix(carrier.session->receive(input.bytes, turn_));
    regulate_reading(carrier);
    mark_dirty(carrier);
    if (carrier.session->is_paused()) return false;
    if (carrier.session->is_flooded()) end_later(carrier, shared_->now + FLOOD_PATIENCE);
  }
  below_.release(input.buffer);
  return true;
}

// What no longer waits leaves the list here, where nobody walks it.
void H2Transport::receive_waiting() {
  std::erase_if(waiting_, [this](Carrier* carrier) {
    size_t used = 0;
    while (used < carrier->inputs.size() && use(*carrier, carrier->inputs[used])) ++used;
    carrier->inputs.erase(carrier->inputs.begin(), carrier->inputs.begin() + static_cast<ptrdiff_t>(used));
    carrier->waiting = !carrier->inputs.empty();
    if (carrier->waiting) return false;
    regulate_reading(*carrier);
    if (carrier->peer_closed && carrier->below_open && !carrier->below_failed) peer_left(*carrier);
    return true;
  });
}

void H2Transport::peer_left(Carrier& carrier) {
  carrier.peer_left = true;
  carrier.session->peer_closed();
  tell(carrier);
  if (carrier.lingering) end_below(carrier, false);
}

void H2Transport::drop_inputs(Carrier& carrier) {
  for (const Input& input : carrier.inputs) below_.release(input.buffer);
  carrier.inputs.clear();
}

void H2Transport::batch_over(Carrier& carrier, bool sent) {
  if (carrier.batch == nullptr) return;
  H2Session::batch_over(*shared_, *carrier.batch, sent);
  shared_->batches.give(carrier.batch);
  carrier.batch = nullptr;
}

// ---- to below

void H2Transport::mark_dirty(Carrier& carrier) {
  if (carrier.dirty) return;
  carrier.dirty = true;
  dirty_.push_back(&carrier);
}

void H2Transport::send_held() {
  while (H2Stream* stream = shared_->take_held()) {
    mark_dirty(*carrier_of(stream->session->carrier));
    stream->session->send_held(*stream);
  }
}

MonoTime H2Transport::next_held() const {
  return shared_->held.empty() ? MonoTime::never() : shared_->held.front().until;
}

void H2Transport::pump_all() {
  for (size_t i = 0; i < dirty_.size(); ++i) {
    Carrier* carrier = dirty_[i];
    if (carrier == nullptr) continue;
    carrier->dirty = false;
    pump(*carrier);
  }
  dirty_.clear();
}

void H2Transport::pump(Carrier& carrier) {
  if (!carrier.below_open || carrier.below_failed || carrier.lingering || carrier.batch != nullptr) return;
  H2Session& session = *carrier.session;
  if (session.wants_write()) {
    H2Batch* batch = shared_->batches.take();
    ASSERT(batch != nullptr);  // as many as connections
    const bool was_flooded = session.is_flooded();
    const bool has_frames = session.produce(*batch);
    if (session.is_flooded() && !was_flooded) end_later(carrier, shared_->now + FLOOD_PATIENCE);
    if (has_frames) {
      carrier.batch = batch;
      below_.send(carrier.handle, batch->parts(), false);
    } else {
      H2Session::batch_over(*shared_, *batch, false);  // memory may have ended with a frame half said
      shared_->batches.give(batch);
    }
  }
  regulate_reading(carrier);
  if (carrier.batch == nullptr && session.finished()) linger(carrier);
}

void H2Transport::regulate_reading(Carrier& carrier) {
  if (!carrier.below_open || carrier.below_failed) return;
  const size_t queued = carrier.session->queued_frames();
  const size_t inputs = carrier.inputs.size();
  const bool has_room =
      carrier.reading ? queued < QUEUED_MAX && inputs < INPUTS_MAX : queued < QUEUED_LOW && inputs == 0;
  const bool wanted = has_room && !carrier.session->is_flooded();
  if (wanted == carrier.reading || carrier.peer_closed) return;
  carrier.reading = wanted;
  below_.set_receiving(carrier.handle, wanted);
}

// Nothing is sent any more. The upper side's close() ends it below, unless that has been.
void H2Transport::say_no_more(Carrier& carrier) {
  carrier.lingering = true;
  carrier.failed = true;
  tell(carrier);
}

// Everything is said and sent. The peer must see it before our kernel answers what it still sends with RST; but who
// floods us does not get that second of our reading.
void H2Transport::linger(Carrier& carrier) {
  say_no_more(carrier);
  if (carrier.session->is_flooded()) return end_below(carrier, false);
  below_.shutdown_send(carrier.handle);
  if (!carrier.reading && !carrier.peer_closed) below_.set_receiving(carrier.handle, true);
  if (carrier.peer_closed) {
    end_below(carrier, false);
  } else {
    end_later(carrier, shared_->now + LINGER_PATIENCE);
  }
}

void H2Transport::end_later(Carrier& carrier, MonoTime due) {
  carrier.due = due;
  if (carrier.ending) return;
  carrier.ending = true;
  ending_.push_back(&carrier);
}

MonoTime H2Transport::next_ending() const {
  MonoTime next = MonoTime::never();
  for (const Carrier* carrier : ending_) next = std::min(next, carrier->due);
  return next;
}

void H2Transport::take_endings() {
  for (size_t i = 0; i < ending_.size();) {
    Carrier& carrier = *ending_[i];
    if (carrier.due > shared_->now) {
      ++i;
      continue;
    }
    ending_[i] = ending_.back();
    ending_.pop_back();
    carrier.ending = false;
    if (carrier.session->is_flooded() && !carrier.lingering) say_no_more(carrier);
    end_below(carrier, !carrier.lingering);
  }
}

// The connection below is over for us. While it is still the upper side's, that has been told, and will close it.
void H2Transport::end_below(Carrier& carrier, bool reset) {
  if (!carrier.below_open || carrier.upper_open) return;
  carrier.below_open = false;
  const bool parts_are_lent = reset ? below_.reset(carrier.handle) : below_.close(carrier.handle);
  if (!parts_are_lent) {
    batch_over(carrier, false);
    give(carrier);
  }
}

void H2Transport::give(Carrier& carrier) {
  links_[carrier.handle.index] = {};
  drop_inputs(carrier);
  if (carrier.waiting) std::erase(waiting_, &carrier);
  if (carrier.dirty) std::ranges::replace(dirty_, &carrier, static_cast<Carrier*>(nullptr));
  if (carrier.listed) std::erase(telling_, &carrier);
  if (carrier.ending) std::erase(ending_, &carrier);
  carriers_.give(&carrier);
}

}  // namespace penstock
