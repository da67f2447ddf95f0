// Connections whose records are sealed below (kTLS).
//
// Order. The kernel counts records from where the key says, so it gets it when everything that was sealed here is its
// own already (SENT) and nothing else has been sealed: make_offer() has the number of the next record. From then on
// there is one send below at a time, as before: of a record that OpenSSL made, each by itself, or of what the layer
// above sends. A key update goes out under the old key; the next is passed on when it is SENT, before anything else.
#include "src/tls/tls_transport.h"

#include <sys/socket.h>

namespace penstock {

// A refusal costs nothing: the next record is sealed here, with the number that the kernel would have given it.
void TlsTransport::offer_key(Conn& conn) {
  if (conn.offered || !takes_keys_ || conn.with_below || !conn.out.empty()) return;
  if (conn.sending->next > 0 || conn.sending->done > 0) return;  // not in the middle
  if (!context_.live().kernel.load(std::memory_order_relaxed) || conn.peer.family == AF_UNIX) return;
  RecordSealer::Offer offer;
  if (!conn.session->make_offer(offer)) return;
  conn.offered = true;
  const int refused = below_.take_key(conn.handle, offer.key());
  switch (refused) {
    case 0:
      conn.session->hand_over();
      ++kernel_tls_;
      return;
    case ENOSYS:
      takes_keys_ = false;
      return;
    case EIO:
      fail(conn, EIO);
      [[fallthrough]];
    default:
      ++kernel_tls_refused_;
      context_.note_kernel_refusal(refused);
  }
}

// After a key update. A kernel that keeps to its first key (before 6.14) leaves a connection of no use: it would seal
// with a key that the client no longer has.
void TlsTransport::pass_key(Conn& conn) {
  RecordSealer::Offer offer;
  const int refused = conn.session->make_offer(offer) ? below_.take_key(conn.handle, offer.key()) : EIO;
  if (refused == 0 || conn.error != 0) return;
  context_.note_kernel_refusal(refused);
  ++kernel_tls_refused_;
  note(conn, Reason::TLS_KEY_UPDATE);
  conn.out.clear_all(cipher_);
  fail(conn, EPROTO);
}

// What OpenSSL has to say, then what the layer above sends.
void TlsTransport::pass_down(Conn& conn) {
  const bool may_send = conn.sending != nullptr && conn.error == 0 && conn.state == State::OPEN;
  if (may_send && conn.out.empty() && !conn.session->settle_key_update()) {
    note(conn, conn.session->reason());
    return fail(conn, EPROTO);
  }
  if (!conn.out.empty()) {
    conn.out.move_front(1, conn.flight);
    const CipherBlock& record = *conn.flight.blocks().front();
    conn.next_key = TlsSession::is_key_update(record);
    conn.with_below = true;
    below_.send_record(conn.handle, static_cast<uint8_t>(record.data[0]), {record.data + 1, record.used - 1});
    return;
  }
  if (!may_send) return;
  conn.plain_flight = 0;
  for (const SendPart& part : conn.sending->parts.values()) conn.plain_flight += part.size;
  conn.below_mark = below_.bytes_sent(conn.handle);
  conn.with_below = conn.lent = true;
  below_.send(conn.handle, conn.sending->parts.values(), false);
  drop_sending(conn);
}

}  // namespace penstock
