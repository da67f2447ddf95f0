// From the first byte to ACCEPTED, or to NOTED.
#include "src/tls/tls_transport.h"

#include <algorithm>
#include <cerrno>

namespace penstock {
namespace {

constexpr std::string_view PLAIN_HTTP_ANSWER =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 58\r\nConnection: close\r\n\r\n"
    "This address speaks https; the request came as plain http\n";

}  // namespace

bool TlsTransport::begin_session(Conn& conn) {
  const Input& first = inputs_[conn.input_first];
  // A method of HTTP: no TLS record begins with a letter.
  if (first.data[0] >= 'A' && first.data[0] <= 'Z') {
    refuse_plain_http(conn);
    return false;
  }
  conn.session.emplace(context_, cipher_, conn.out, clock_.wall().unix_seconds());
  if (!conn.session->valid()) {
    conn.session.reset();
    refuse(conn, Reason::SERVER_BUSY);
    return false;
  }
  conn.session->lend({first.data, first.size});
  if (keys_ == nullptr) return true;
  conn.wait.bind(*keys_, (static_cast<uint64_t>(conn.handle.generation) << 32) | conn.handle.index);
  if (wait_for_key(conn.session->ssl(), conn.wait)) return true;
  refuse(conn, Reason::SERVER_BUSY);
  return false;
}

// On the thread that polls: what waits for signatures belongs to it.
void TlsTransport::start_keys() {
  keys_started_ = true;
  if (keys_ == nullptr) return;
  // Where either fails handshakes fail, each with its reason; connections that do not speak TLS go on.
  (void)prepare_key_thread();
  (void)below_.add_wake_source(keys_->wake_fd(), KEY_WAKE);
}

void TlsTransport::keys_came() {
  std::array<uint64_t, KEY_SLOTS> tokens;
  const size_t count = keys_->collect(tokens);
  for (size_t i = 0; i < count; ++i) {
    const Handle handle{.index = static_cast<uint32_t>(tokens[i]),
                        .generation = static_cast<uint32_t>(tokens[i] >> 32)};
    Conn* const conn = find(handle);
    if (conn == nullptr || !conn->waits_key) continue;
    conn->waits_key = false;
    make_ready(*conn);
  }
}

void TlsTransport::give_up_key(Conn& conn) {
  conn.waits_key = false;
  if (keys_ != nullptr && conn.session) give_up_handshake(conn.session->ssl(), conn.wait);
}

void TlsTransport::pump_handshake(Conn& conn, std::span<TransportEvent> out, size_t& count) {
  if (conn.broken_below || (conn.eof && conn.input_first == NONE && !conn.waits_key)) {
    // Who connects and says nothing is no failure: a health check, a spare connection of a browser.
    if (conn.came) note(conn, Reason::TLS_LEFT);
    return end_below(conn, false);
  }
  if (conn.waits_key || (conn.input_first == NONE && !conn.session)) return;
  if (!conn.session && !begin_session(conn)) return;
  auto step = TlsSession::Step::MORE;
  do {
    step = conn.session->handshake();
  } while (step == TlsSession::Step::MORE && next_input(conn));
  switch (step) {
    case TlsSession::Step::DONE:
      return handshake_done(conn, out, count);
    case TlsSession::Step::MORE:
      flush(conn);
      if (conn.eof) make_ready(conn);
      return;
    case TlsSession::Step::KEY:
      conn.waits_key = true;
      return flush(conn);
    case TlsSession::Step::END:
    case TlsSession::Step::FAILED:
      break;
  }
  Reason reason = conn.session->reason();
  if (keys_ != nullptr && conn.wait.status() != KeyStatus::OK) reason = Reason::TLS_KEY_FAILED;
  if (keys_ != nullptr && conn.wait.overloaded()) reason = Reason::TLS_KEY_BUSY;  // not the client's fault
  refuse(conn, reason);
}

void TlsTransport::handshake_done(Conn& conn, std::span<TransportEvent> out, size_t& count) {
  unlink(conn);
  conn.state = State::OPEN;
  ++handshakes_done_;
  if (conn.session->resumed()) ++handshakes_resumed_;
  if (keys_ != nullptr) stop_waiting_for_key(conn.session->ssl());
  flush(conn);
  out[count++] = {.conn = conn.handle, .id = conn.listener, .kind = TransportEventKind::ACCEPTED, .peer = conn.peer};
  // What follows comes with the next batch.
  if (conn.input_first != NONE || conn.session->has_pending() || conn.eof) make_ready(conn);
}

void TlsTransport::note(const Conn& conn, Reason reason) {
  notes_.push_back({.error = static_cast<int32_t>(reason),
                    .id = conn.listener,
                    .kind = TransportEventKind::NOTED,
                    .peer = conn.peer});
}

// Ends a handshake; an alert that is in the output still goes out.
void TlsTransport::refuse(Conn& conn, Reason reason) {
  note(conn, reason);
  begin_dying(conn);
}

void TlsTransport::refuse_plain_http(Conn& conn) {
  conn.out.append(PLAIN_HTTP_ANSWER.data(), PLAIN_HTTP_ANSWER.size(), cipher_);
  refuse(conn, Reason::PLAIN_TO_TLS);
}

}  // namespace penstock
