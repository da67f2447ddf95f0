// Invariants:
//  - A connection is in READING only with no exchange; in SERVING exactly with one.
//  - `input` is not empty only in READING with a partial head, in SERVING, or while room is short.
//  - `sending` is not null exactly while the transport owes SENT, FAILED or CLOSED.
//  - Whoever fills an Outgoing puts the connection into the flush list; flush_all() empties it.

#include "src/server/connections.h"

#include "src/server/leaving.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/request_body.h"
#include "src/server/streams.h"
#include "src/server/walk.h"

#include <algorithm>

namespace penstock {
namespace {

// What a connection may pile up behind an exchange before its socket is left unread.
constexpr size_t INPUT_KEPT_MAX = 64 * 1024;

bool is_refusal(const Exchange& exchange) { return std::max(exchange.app_status, exchange.status()) >= 400; }

// Looks for one head at the front of `bytes`; returns how many bytes were used (0: need more).
size_t read_head(Core& core, Connection& c, std::string_view bytes) {
  if (!c.slot.valid()) {
    c.slot =
        core.journal.begin(core.now, c.facts, c.requests + 1, static_cast<uint32_t>(core.config->generation), bytes);
    if (!c.slot.valid()) {
      refuse_connection(core, c, Reason::SERVER_BUSY);
      return bytes.size();
    }
  } else {
    core.journal.extend(c.slot, bytes);
  }
  if (core.spare == nullptr) core.spare = core.exchanges.take();
  ASSERT(core.spare != nullptr);  // one for each connection and one more: ReactorLimits
  switch (c.parser.parse(bytes, core.config->head_limits, core.spare->head)) {
    case ParseState::NEED_MORE:
      if (c.deadline_kind != DeadlineKind::HEADER) {
        set_deadline(core, c, DeadlineKind::HEADER, core.config->settings.limits_header_timeout);
      }
      return 0;
    case ParseState::BAD: {
      const Reason reason = c.parser.error();
      c.parser.reset();
      refuse_head(core, c, bytes, reason);
      return bytes.size();
    }
    case ParseState::COMPLETE:
      break;
  }
  const size_t used = c.parser.consumed();
  c.parser.reset();
  begin_exchange(core, c, bytes.substr(0, used));
  return used;
}

// Uses what it can from the front of `bytes`; returns how many.
size_t consume(Core& core, Connection& c, std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size()) {
    const std::string_view rest = bytes.substr(used);
    size_t now_used = 0;
    switch (c.state) {
      case ConnectionState::READING:
        now_used = read_head(core, c, rest);
        break;
      case ConnectionState::DRAINING:
        now_used = drain_body(core, c, rest);
        break;
      case ConnectionState::SERVING:
        // Behind a head that waits for its answer: its body, if somebody reads it, or the next request.
        if (c.exchange->held) {
          now_used = read_held_body(core, c, rest);
        } else if (c.exchange->dispatch != nullptr) {
          now_used = core.pools->take_body(*c.exchange, rest);
        }
        break;
      case ConnectionState::CLOSING:
        c.client_is_done = false;
        [[fallthrough]];
      case ConnectionState::LINGERING:
      case ConnectionState::CARRYING:
      case ConnectionState::CLOSED:
        return bytes.size();
    }
    if (now_used == 0) return used;
    used += now_used;
  }
  return used;
}

void regulate_receiving(Core& core, Connection& c) {
  const bool wanted = c.input.size() < INPUT_KEPT_MAX || c.state == ConnectionState::READING;
  if (wanted == c.receiving || c.peer_closed) return;
  c.receiving = wanted;
  core.transport.set_receiving(c.handle, wanted);
}

// The client has closed where it owes and is owed nothing more than what is on its way: no request is lost, so no
// record tells of it.
void count_left(Core& core, const Connection& c) {
  if (c.stream) return;
  const bool unused = c.requests == 0 && !c.slot.valid();
  (unused ? core.counters.connections_unused : core.counters.connections_left).add();
}

// A lingering connection still sends: patience is renewed by progress, up to a bound.
void linger_on(Core& core, Connection& c, size_t bytes) {
  c.drained_bytes += bytes;
  if (c.drained_bytes <= core.config->settings.limits_body_bytes + core.config->settings.limits_drain_bytes) {
    set_deadline(core, c, DeadlineKind::LINGER, core.config->settings.limits_linger_timeout);
  }
}

}  // namespace

void set_deadline(Core& core, Connection& c, DeadlineKind kind, Duration from_now) {
  c.deadline = core.now + from_now;
  c.deadline_kind = kind;
  // Every timer fires at least once a send-rate window, to look at the progress of a send; so on the hot path, where
  // deadlines only move away, the wheel is not touched.
  const Duration window = core.config->settings.limits_send_rate_window;
  const MonoTime due = core.now + std::min(from_now, window);
  if (due >= c.timer_due) return;
  c.timer_due = due;
  core.wheel.arm(c.timer, due);
}

void await_request(Core& core, Connection& c) {
  c.state = ConnectionState::READING;
  if (is_leaving(core, c)) {
    set_deadline(core, c, DeadlineKind::DRAIN, core.config->settings.server_drain_idle_timeout);
  } else {
    set_deadline(core, c, DeadlineKind::IDLE, patience_with(core, c).idle);
  }
}

void connection_received(Core& core, Connection& c, std::string_view bytes) {
  core.counters.bytes_in.add(bytes.size());
  if (c.state == ConnectionState::LINGERING) {
    linger_on(core, c, bytes.size());
    return;
  }
  if (c.input.empty()) {
    const size_t used = consume(core, c, bytes);
    // Cold: only what could not be used yet is kept, in memory that goes back when it is used.
    if (used < bytes.size()) c.input.assign(bytes.substr(used));
  } else {
    c.input.append(bytes);
    if (c.state != ConnectionState::SERVING) connection_go_on(core, c);
  }
  regulate_receiving(core, c);
}

void connection_go_on(Core& core, Connection& c) {
  if (!c.input.empty()) {
    const size_t used = consume(core, c, c.input);
    if (used == c.input.size()) {
      std::string().swap(c.input);  // an idle connection holds no memory
    } else {
      c.input.erase(0, used);
    }
  }
  regulate_receiving(core, c);
  // The peer has said all it will: once it is answered there is nothing to wait for.
  if (c.peer_closed && c.state != ConnectionState::SERVING && c.state != ConnectionState::LINGERING) {
    c.state = ConnectionState::CLOSING;
    mark_for_flush(core, c);
  }
}

void connection_peer_closed(Core& core, Connection& c) {
  c.peer_closed = true;
  switch (c.state) {
    case ConnectionState::SERVING:
      if (c.exchange->held) return refuse_held(core, c, Reason::BODY_CUT_SHORT);
      if (c.exchange->dispatch != nullptr && c.input.empty() && core.pools->may_leave(*c.exchange)) {
        end_connection(core, c, EndKind::CLOSE, Reason::CONNECTION_DROPPED);
      }
      return;  // a half-closed client still wants its answer (RFC 9112 section 9.6)
    case ConnectionState::READING:
      if (!c.slot.valid()) count_left(core, c);            // else the record of what it had begun tells of it
      if (c.sending != nullptr || c.filling != nullptr) {  // it still wants what it asked for
        c.state = ConnectionState::CLOSING;
        mark_for_flush(core, c);
        return;
      }
      end_connection(core, c, EndKind::CLOSE, Reason::NONE);
      return;
    case ConnectionState::DRAINING:
      record_connection(core, c.facts, Reason::BODY_CUT_SHORT);
      c.state = ConnectionState::CLOSING;
      mark_for_flush(core, c);
      return;
    case ConnectionState::CLOSING:
      return;
    case ConnectionState::LINGERING:
      end_connection(core, c, EndKind::CLOSE, Reason::NONE);
      return;
    case ConnectionState::CARRYING:  // its streams are told by themselves
      count_left(core, c);
      return;
    case ConnectionState::CLOSED:
      return;
  }
}

void connection_failed(Core& core, Connection& c, int) {  // every error means the same to us: the peer is gone
  if (!c.stream) core.counters.connections_reset.add();
  if (c.sending != nullptr) {
    core.outgoings.give(c.sending);  // FAILED ends the send: its parts are free
    c.sending = nullptr;
  }
  end_connection(core, c, EndKind::CLOSE, Reason::NONE);
}

void connection_released(Core& core, Connection& c) {
  ASSERT(c.state == ConnectionState::CLOSED && c.sending != nullptr);
  core.outgoings.give(c.sending);
  core.connections.give(&c);
}

void end_connection(Core& core, Connection& c, EndKind kind, Reason why) {
  if ((c.exchange != nullptr || c.slot.valid()) && why == Reason::NONE) why = Reason::CONNECTION_DROPPED;
  if (c.exchange != nullptr) {
    abandon_exchange(core, *c.exchange, why);
  } else if (c.slot.valid()) {
    Outcome outcome;
    outcome.status = 0;
    outcome.sub_status = reason_info(why).sub_status;
    outcome.reason = static_cast<uint16_t>(why);
    outcome.verdict = static_cast<uint16_t>(Verdict::BAD_REQUEST);
    outcome.bytes_in = c.input.size();
    outcome.flags = RECORD_ABORTED;
    core.journal.end(c.slot, core.now, outcome);
  } else if (why != Reason::NONE) {
    record_connection(core, c.facts, why);
  }
  core.wheel.disarm(c.timer);
  if (c.counted) core.shared.limiter.leave(c.peer, c.counted_per_client);
  if (!c.stream) core.counters.connections_open.sub();
  if (c.in_flush_list)
    std::replace(core.flush_list.begin(), core.flush_list.end(), &c, static_cast<Connection*>(nullptr));
  if (c.filling != nullptr) core.outgoings.give(c.filling);
  c.filling = nullptr;
  c.state = ConnectionState::CLOSED;
  const bool parts_are_lent = kind == EndKind::CLOSE   ? core.transport.close(c.handle)
                              : kind == EndKind::RESET ? core.transport.reset(c.handle)
                                                       : core.transport.reset_refused(c.handle);
  if (c.stream) end_stream(core, c);
  if (parts_are_lent) return;  // CLOSED will follow
  // A send cut off by the close, or whose SENT is further down in this batch: its parts are free already.
  if (c.sending != nullptr) core.outgoings.give(c.sending);
  core.connections.give(&c);
}

void connection_answered(Core& core, Connection& c, const Exchange& exchange) {
  c.exchange = nullptr;
  remember_site(c, exchange);
  if (!exchange.keep_alive || is_leaving(core, c)) {
    c.state = ConnectionState::CLOSING;
    c.refuse_after_send = exchange.unanswered;
    // Unread input behind a close would make the kernel send RST over our answer, also input that is still to come from
    // a client that promised to send no more: a refusal is seen whatever it does.
    c.linger_after_send = exchange.lingers || exchange.head.body != BodyKind::NONE || is_refusal(exchange);
    c.client_is_done = !exchange.head.keep_alive && c.input.empty();
    std::string().swap(c.input);
  } else if (exchange.head.body != BodyKind::NONE && !exchange.body_done) {
    c.state = ConnectionState::DRAINING;
    c.drained_bytes = 0;
    if (!exchange.forwarded) {  // else from where the application stopped reading
      c.body = exchange.head.body;
      c.body_left = exchange.head.content_length;
      c.chunks = ChunkDecoder{};
    }
    set_deadline(core, c, DeadlineKind::BODY, patience_with(core, c).body);
  } else {
    await_request(core, c);
  }
  mark_for_flush(core, c);
}

}  // namespace penstock
