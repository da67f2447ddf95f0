// Invariants:
//  - A connection is in handshaking_ exactly in HANDSHAKE, in dying_ exactly in DYING.
//  - with_below ⇔ flight, or where `lent` what the layer above sends, is with the layer below, which owes SENT, FAILED
//    or CLOSED.
//  - An event of the layer below gives at most one event above at once; everything else comes by ready_.
#include "src/tls/tls_transport.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace penstock {

TlsTransport::TlsTransport(Transport& below, TlsContext& context, KeyChannel* keys, Clock& clock,
                           const TransportOptions& options)
    : TransportLayer(below),
      context_(context),
      keys_(keys),
      clock_(clock),
      options_(options),
      conns_(options.connections_max),
      sendings_(options.connections_max),
      inputs_(options.receive_buffers),
      events_(256),
      buffers_(options.receive_buffers),
      scratch_(std::make_unique<char[]>(TlsSession::RECORD_MAX)) {
  for (uint32_t i = options.receive_buffers; i > 0; --i) free_buffers_.push_back(i - 1);
}

TlsTransport::~TlsTransport() = default;

void TlsTransport::set_layers(uint32_t id, const ListenerLayers& layers) {
  std::erase(tls_listeners_, id);
  if (layers.tls) tls_listeners_.push_back(id);
  below_.set_layers(id, layers);
}

TlsTransport::Conn* TlsTransport::find(Handle conn) const {
  if (conn.index >= slots_.size()) return nullptr;
  Conn* const found = slots_[conn.index].conn;
  return found != nullptr && found->handle == conn ? found : nullptr;
}

TlsTransport::Conn& TlsTransport::live(Handle conn) const {
  Conn* const found = find(conn);
  ASSERT(found != nullptr && found->state == State::OPEN);
  return *found;
}

bool TlsTransport::is_open(Handle conn) const {
  if (conn.index >= slots_.size() || !slots_[conn.index].tls) return below_.is_open(conn);
  const Conn* const found = find(conn);
  return found != nullptr && found->state == State::OPEN;
}

void TlsTransport::set_context(Handle conn, void* context) {
  if (Conn* const found = find(conn)) {
    found->context = context;
  } else {
    below_.set_context(conn, context);
  }
}

size_t TlsTransport::poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) {
  now_ = now;
  size_t count = 0;
  if (!keys_started_) start_keys();
  expire();
  if (cold_at_ <= now) retry_cold();
  pump_ready(out, count);
  if (count < out.size()) {
    if (count > 0 || !ready_.empty() || !notes_.empty()) deadline = now;
    const size_t room = std::min(out.size() - count, events_.size());
    const size_t came = below_.poll(now, std::min(deadline, next_due()), std::span(events_).first(room));
    for (size_t i = 0; i < came; ++i) translate(events_[i], out, count);
    pump_ready(out, count);
  }
  const size_t notes = std::min(notes_.size(), out.size() - count);
  std::copy_n(notes_.begin(), notes, out.begin() + static_cast<std::ptrdiff_t>(count));
  notes_.erase(notes_.begin(), notes_.begin() + static_cast<std::ptrdiff_t>(notes));
  return count + notes;
}

void TlsTransport::translate(const TransportEvent& event, std::span<TransportEvent> out, size_t& count) {
  if (event.kind == TransportEventKind::ACCEPTED) return accept(event, out, count);
  if (event.kind == TransportEventKind::WOKEN && event.id == KEY_WAKE) return keys_came();
  if (event.kind == TransportEventKind::WOKEN || event.kind == TransportEventKind::NOTED ||
      event.conn.index >= slots_.size() || !slots_[event.conn.index].tls) {
    out[count++] = event;
    return;
  }
  Conn* const conn = find(event.conn);
  if (conn == nullptr) {
    if (event.kind == TransportEventKind::RECEIVED) below_.release(event.buffer);
    return;
  }
  switch (event.kind) {
    case TransportEventKind::RECEIVED:
      return received(*conn, event);
    case TransportEventKind::PEER_CLOSED:
      conn->eof = true;
      return make_ready(*conn);
    case TransportEventKind::SENT:
      return sent_below(*conn, out, count);
    case TransportEventKind::FAILED:
      conn->broken_below = true;
      conn->with_below = conn->lent = conn->next_key = false;
      conn->flight.clear_all(cipher_);
      conn->out.clear_all(cipher_);
      if (conn->state == State::DYING) return end_below(*conn, false);
      drop_inputs(*conn);
      if (conn->error == 0) conn->error = event.error;
      return make_ready(*conn);
    case TransportEventKind::CLOSED:
      ASSERT(conn->state == State::GONE);
      if (conn->lent) {
        out[count++] = {.conn = conn->handle, .context = conn->context, .kind = TransportEventKind::CLOSED};
      }
      return forget(*conn);
    default:
      ASSERT(false);
  }
}

void TlsTransport::accept(const TransportEvent& event, std::span<TransportEvent> out, size_t& count) {
  if (event.conn.index >= slots_.size()) slots_.resize(event.conn.index + 1);
  Slot& slot = slots_[event.conn.index];
  slot.tls = std::find(tls_listeners_.begin(), tls_listeners_.end(), event.id) != tls_listeners_.end();
  if (!slot.tls) {
    out[count++] = event;
    return;
  }
  Conn* const conn = conns_.take();
  ASSERT(conn != nullptr && slot.conn == nullptr);  // as many as below
  slot.conn = conn;
  conn->handle = event.conn;
  conn->peer = event.peer;
  conn->listener = event.id;
  const TlsLive& live = context_.live();
  link(handshaking_, *conn, now_);
  if (handshaking_.count > live.handshakes_max.load(std::memory_order_relaxed)) {
    note(*conn, Reason::TLS_LIMIT);
    end_below(*conn, true);
  }
}

void TlsTransport::received(Conn& conn, const TransportEvent& event) {
  conn.came = true;
  if (conn.state == State::DYING || conn.state == State::GONE || conn.error != 0 || conn.eof_told) {
    return below_.release(event.buffer);
  }
  if (event.buffer >= inputs_.size()) inputs_.resize(event.buffer + 1);
  inputs_[event.buffer] = {.data = event.data, .size = event.size, .next = NONE};
  if (conn.input_last == NONE) {
    conn.input_first = event.buffer;
    if (conn.session) conn.session->lend({event.data, event.size});
  } else {
    inputs_[conn.input_last].next = event.buffer;
  }
  conn.input_last = event.buffer;
  make_ready(conn);
}

void TlsTransport::sent_below(Conn& conn, std::span<TransportEvent> out, size_t& count) {
  conn.with_below = false;
  conn.plain_sent += conn.plain_flight;
  conn.plain_flight = 0;
  conn.flight.clear_all(cipher_);
  if (std::exchange(conn.lent, false) && conn.error != 0) make_ready(conn);  // which is told now
  if (std::exchange(conn.next_key, false)) pass_key(conn);
  if (conn.error == 0 && conn.state == State::OPEN) encrypt(conn);
  flush(conn);
  if (conn.with_below) return;
  if (conn.state == State::DYING) return end_below(conn, false);
  if (conn.shut_wanted && !conn.shut) {
    conn.shut = true;
    below_.shutdown_send(conn.handle);
  }
  if (!conn.send_open || conn.sending != nullptr || conn.error != 0) return;
  conn.send_open = false;
  out[count++] = {.conn = conn.handle, .context = conn.context, .kind = TransportEventKind::SENT};
}

void TlsTransport::make_ready(Conn& conn) {
  if (conn.in_ready) return;
  conn.in_ready = true;
  ready_.push_back(conn.handle);
}

void TlsTransport::pump_ready(std::span<TransportEvent> out, size_t& count) {
  working_.swap(ready_);
  for (size_t i = 0; i < working_.size(); ++i) {
    Conn* const conn = find(working_[i]);
    if (conn == nullptr) continue;
    if (count == out.size()) {
      ready_.push_back(working_[i]);
      continue;
    }
    conn->in_ready = false;
    pump(*conn, out, count);
  }
  working_.clear();
}

void TlsTransport::pump(Conn& conn, std::span<TransportEvent> out, size_t& count) {
  if (conn.state == State::HANDSHAKE) return pump_handshake(conn, out, count);
  if (conn.state == State::OPEN) pump_open(conn, out, count);
}

void TlsTransport::pump_open(Conn& conn, std::span<TransportEvent> out, size_t& count) {
  while (conn.receiving && conn.error == 0 && !conn.eof_told) {
    if (count == out.size()) return make_ready(conn);
    if (!read_into_buffer(conn, out, count)) break;
  }
  flush(conn);
  if (conn.error != 0 && !conn.fail_told && !conn.lent) {
    if (count == out.size()) return make_ready(conn);
    conn.fail_told = true;
    conn.send_open = false;
    drop_sending(conn);
    out[count++] = {
        .conn = conn.handle, .context = conn.context, .error = conn.error, .kind = TransportEventKind::FAILED};
  }
}

// One RECEIVED, or what ends the bytes. False: nothing more can be read for now.
bool TlsTransport::read_into_buffer(Conn& conn, std::span<TransportEvent> out, size_t& count) {
  const bool has_bytes = conn.input_first != NONE || conn.session->has_pending();
  auto step = TlsSession::Step::MORE;
  size_t got = 0;
  if (has_bytes) {
    if (free_buffers_.empty()) {
      ++starved_count_;
      if (!conn.starved) starved_.push_back(conn.handle);
      conn.starved = true;
      return false;
    }
    const uint32_t buffer = free_buffers_.back();
    if (buffers_[buffer] == nullptr) buffers_[buffer] = std::make_unique<char[]>(options_.receive_buffer_bytes);
    const std::span<char> room(buffers_[buffer].get(), options_.receive_buffer_bytes);
    while (got < room.size()) {
      size_t now_got = 0;
      step = conn.session->read(room.subspan(got), now_got);
      got += now_got;
      if (step != TlsSession::Step::MORE || !next_input(conn)) break;
    }
    if (got > 0) {
      free_buffers_.pop_back();
      out[count++] = {.conn = conn.handle,
                      .context = conn.context,
                      .data = room.data(),
                      .size = static_cast<uint32_t>(got),
                      .buffer = buffer | OWN_BUFFER,
                      .kind = TransportEventKind::RECEIVED};
    }
  }
  if (step == TlsSession::Step::FAILED) {
    note(conn, conn.session->reason());
    fail(conn, EPROTO);
    return false;
  }
  const bool over =
      step == TlsSession::Step::END || (conn.eof && step == TlsSession::Step::MORE && conn.input_first == NONE);
  if (!over) return step == TlsSession::Step::DONE;
  if (count == out.size()) {
    make_ready(conn);
    conn.eof = true;
    return false;
  }
  drop_inputs(conn);
  conn.eof_told = true;
  out[count++] = {.conn = conn.handle, .context = conn.context, .kind = TransportEventKind::PEER_CLOSED};
  return false;
}

void TlsTransport::release(uint32_t buffer) {
  if ((buffer & OWN_BUFFER) == 0) return below_.release(buffer);
  free_buffers_.push_back(buffer & ~OWN_BUFFER);
  while (!starved_.empty()) {  // in turn: who waits longest is first
    Conn* const conn = find(starved_.front());
    starved_.erase(starved_.begin());
    if (conn == nullptr) continue;
    conn->starved = false;
    return make_ready(*conn);
  }
}

void TlsTransport::no_hurry(Handle handle) {
  if (find(handle) == nullptr) return below_.no_hurry(handle);
  unhurried_ = handle;
}

void TlsTransport::set_receiving(Handle handle, bool on) {
  Conn* const conn = find(handle);
  if (conn == nullptr) return below_.set_receiving(handle, on);
  if (conn->receiving == on || conn->fail_told) return;
  conn->receiving = on;
  if (!conn->broken_below) below_.set_receiving(handle, on);
  if (on) make_ready(*conn);
}

LayerFacts TlsTransport::layer(Handle handle) const {
  Conn* const conn = find(handle);
  if (conn == nullptr) return below_.layer(handle);
  LayerFacts facts = below_.layer(handle);
  facts.secure = true;
  facts.server_name = conn->session->server_name();
  facts.protocol = conn->session->protocol();
  facts.client_rules = conn->session->client_rules();
  if (facts.client_rules == 0) return facts;
  facts.client_subject = conn->session->client_subject();
  facts.client_fingerprint = conn->session->client_fingerprint();
  facts.client_refused = static_cast<int32_t>(conn->session->client_refused(clock_.wall().unix_seconds()));
  return facts;
}

void TlsTransport::drain(Handle conn) {
  if (find(conn) == nullptr) below_.drain(conn);
}

const TransportCounters& TlsTransport::counters() const {
  counters_ = below_.counters();
  counters_.bytes_from_files += bytes_from_files_;
  counters_.receive_starved += starved_count_;
  counters_.handshakes += handshakes_done_;
  counters_.handshakes_resumed += handshakes_resumed_;
  counters_.certificates_loaded += context_.certificates_loaded();
  counters_.bytes_encrypted += bytes_encrypted_;
  counters_.bytes_gathered += bytes_gathered_;
  counters_.kernel_tls += kernel_tls_;
  counters_.kernel_tls_refused += kernel_tls_refused_;
  return counters_;
}

// Of those under way, too, when it is changed: their order stays that of their accepts.
Duration TlsTransport::handshake_timeout() const {
  return {context_.live().handshake_timeout_ns.load(std::memory_order_relaxed)};
}

void TlsTransport::expire() {
  const MonoTime begun = now_ - handshake_timeout();
  while (handshaking_.first != nullptr && handshaking_.first->at <= begun) {
    refuse(*handshaking_.first, Reason::TLS_TIMER);
  }
  while (dying_.first != nullptr && dying_.first->at <= now_) end_below(*dying_.first, true);
}

MonoTime TlsTransport::next_due() const {
  MonoTime due = cold_at_;
  if (handshaking_.first != nullptr) due = std::min(due, handshaking_.first->at + handshake_timeout());
  if (dying_.first != nullptr) due = std::min(due, dying_.first->at);
  return due;
}

}  // namespace penstock
