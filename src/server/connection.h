// Connection: what one client connection needs between its requests, and no more.
//
// Owned by one reactor, taken from its pool at accept, given back at close. An idle connection
// holds no buffer: `input` is empty, `exchange`, `filling` and `sending` are null.
#pragma once

#include "src/base/handle.h"
#include "src/base/time.h"
#include "src/base/timer_wheel.h"
#include "src/http/chunked.h"
#include "src/http/request_head.h"
#include "src/http/request_parser.h"
#include "src/http/status.h"
#include "src/log/journal.h"
#include "src/server/outgoing.h"
#include "src/transport/transport.h"

#include <cstdint>
#include <string>

namespace penstock {

struct Exchange;

enum class ConnectionState : uint8_t {
  READING,    // between requests, or inside a head
  SERVING,    // an exchange is at work or waits (a file, another reactor, the peer); input is kept back
  DRAINING,   // the answer is on its way; the request's body is read and dropped
  CLOSING,    // the last answer is being sent; input is dropped
  LINGERING,  // our side is shut; what the peer still sends is read and dropped (RFC 9112 section 9.6)
  CARRYING,   // HTTP/2: what it says comes on its streams, which are connections of their own
  CLOSED      // ended; only the transport still holds the parts of its last send
};

// Why the connection's deadline stands where it does; names the journal reason when it passes.
enum class DeadlineKind : uint8_t { IDLE, HEADER, BODY, LINGER, DRAIN };

struct Connection {
  Connection() {}  // NOLINT: keeps the pool from zeroing what is written before it is read

  Timer timer;  // first member: the wheel hands the Timer back and it is cast to its Connection
  MonoTime timer_due = MonoTime::never();  // what `timer` is armed for: re-armed only for something earlier
  MonoTime deadline = MonoTime::never();
  Handle handle;  // the transport's
  Exchange* exchange = nullptr;
  Outgoing* filling = nullptr;  // answers of this turn
  Outgoing* sending = nullptr;  // with the transport

  ConnectionState state = ConnectionState::READING;
  DeadlineKind deadline_kind = DeadlineKind::HEADER;
  bool linger_after_send = false;
  bool client_is_done = false;     // in CLOSING: it said that it will ask for nothing more, and has sent nothing more
  bool refuse_after_send = false;  // in CLOSING: its last request gets no answer, what was answered before is sent
  bool reset_at_flush = false;     // nothing can be answered any more
  Reason reset_reason = Reason::NONE;
  bool peer_closed = false;  // the peer's FIN has come
  bool receiving = true;
  bool stream = false;  // of HTTP/2: one request, then it ends
  bool secure = false;  // Transport::layer()
  bool in_flush_list = false;
  bool leaving = false;      // a change of the configuration has it end: leaving.h
  bool awaits_body = false;  // in SERVING: the client has to send more of the body that somebody reads
  bool counted = false;      // by the ConnectionLimiter
  bool counted_per_client = false;
  BodyKind body = BodyKind::NONE;  // of the request whose body is being forwarded or drained
  RequestParser parser;
  JournalSlot slot;              // of the head that has begun and is not complete
  uint32_t listener = 0;         // that it came by
  uint32_t requests = 0;         // heads complete
  uint32_t site = 0;             // Site::number + 1 of who answered last; 0: nobody
  uint64_t site_generation = 0;  // Snapshot::serving_generation, in which that is its number
  uint32_t streams = 0;          // of CARRYING: connections whose carrier it is
  Handle carrier;                // of a stream
  uint64_t client_rules = 0;     // Transport::layer()
  MonoTime sending_since;

  std::string input;           // bytes that could not be used yet: a partial head, or what waits behind an exchange
  uint64_t body_left = 0;      // of a Content-Length body
  uint64_t drained_bytes = 0;  // of bodies and while lingering
  ChunkDecoder chunks;
  int64_t sent_mark = 0;  // what the peer had taken at sent_mark_at: the minimum send rate
  MonoTime sent_mark_at;
  ConnectionFacts facts;  // what the journal says of it
  PeerAddress peer;
};

}  // namespace penstock
