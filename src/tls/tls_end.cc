// How connections end: for the layer above at once, below when the last bytes are out.
#include "src/tls/tls_transport.h"

#include <utility>

namespace penstock {
namespace {

constexpr Duration DYING_PATIENCE = seconds(2);  // for an alert or a close_notify to leave

}  // namespace

void TlsTransport::shutdown_send(Handle handle) {
  if (find(handle) == nullptr) return below_.shutdown_send(handle);
  Conn& conn = live(handle);
  ASSERT(!conn.send_open);
  if (conn.error != 0 || conn.shut_wanted) return;
  conn.shut_wanted = true;
  conn.session->say_goodbye();
  flush(conn);
  if (conn.with_below) return;  // FIN follows its SENT
  conn.shut = true;
  below_.shutdown_send(handle);
}

bool TlsTransport::close(Handle handle) {
  if (find(handle) == nullptr) return below_.close(handle);
  return end(live(handle), false);
}

bool TlsTransport::reset(Handle handle) {
  if (find(handle) == nullptr) return below_.reset(handle);
  return end(live(handle), true);
}

// True: parts of the layer above are still lent; CLOSED follows.
bool TlsTransport::end(Conn& conn, bool with_reset) {
  const bool cut = conn.send_open;
  conn.send_open = false;
  drop_inputs(conn);
  drop_sending(conn);
  // A send that is cut off is not followed by a goodbye, which would say that it was whole.
  if (with_reset || cut || conn.broken_below) return cut_below(conn, with_reset);
  if (conn.error == 0 && !conn.shut_wanted) conn.session->say_goodbye();
  begin_dying(conn);
  return false;
}

// What is in the output goes out, then the connection ends below.
void TlsTransport::begin_dying(Conn& conn) {
  if (conn.state == State::HANDSHAKE) {
    give_up_key(conn);
    unlink(conn);
  }
  conn.state = State::DYING;
  drop_inputs(conn);
  flush(conn);
  link(dying_, conn, now_ + DYING_PATIENCE);
  if (!conn.with_below) end_below(conn, false);
}

// True: parts of the layer above are lent beyond it.
bool TlsTransport::cut_below(Conn& conn, bool with_reset) {
  if (conn.state == State::HANDSHAKE) give_up_key(conn);
  if (conn.state == State::HANDSHAKE || conn.state == State::DYING) unlink(conn);
  conn.state = State::GONE;
  drop_inputs(conn);
  drop_sending(conn);
  conn.out.clear_all(cipher_);
  const bool lent = with_reset ? below_.reset(conn.handle) : below_.close(conn.handle);
  if (lent) return conn.lent;
  forget(conn);
  return false;
}

void TlsTransport::forget(Conn& conn) {
  conn.flight.clear_all(cipher_);
  slots_[conn.handle.index].conn = nullptr;
  conns_.give(&conn);
}

// The input that is used up goes back. True: there is another, and it is lent to the session.
bool TlsTransport::next_input(Conn& conn) {
  if (conn.input_first == NONE || !conn.session->unused().empty()) return false;
  const uint32_t used = conn.input_first;
  conn.input_first = inputs_[used].next;
  if (conn.input_first == NONE) conn.input_last = NONE;
  below_.release(used);
  if (conn.input_first == NONE) return false;
  const Input& next = inputs_[conn.input_first];
  conn.session->lend({next.data, next.size});
  return true;
}

void TlsTransport::drop_inputs(Conn& conn) {
  while (conn.input_first != NONE) {
    const uint32_t used = conn.input_first;
    conn.input_first = inputs_[used].next;
    below_.release(used);
  }
  conn.input_last = NONE;
  if (conn.session) conn.session->lend({});
}

void TlsTransport::link(DueList& list, Conn& conn, MonoTime at) {
  conn.at = at;
  conn.before = list.last;
  conn.after = nullptr;
  (list.last != nullptr ? list.last->after : list.first) = &conn;
  list.last = &conn;
  ++list.count;
}

void TlsTransport::unlink(Conn& conn) {
  DueList& list = conn.state == State::HANDSHAKE ? handshaking_ : dying_;
  (conn.before != nullptr ? conn.before->after : list.first) = conn.after;
  (conn.after != nullptr ? conn.after->before : list.last) = conn.before;
  conn.before = conn.after = nullptr;
  --list.count;
}

}  // namespace penstock
