// How answers leave a connection: all of a turn together, one send at a time; and what follows the last.

#include "src/server/connections.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/walk.h"

namespace penstock {
namespace {

// Whether what the client still sends must be read once all was sent. What has been false stays so.
bool lingers(const Core& core, const Connection& c) {
  return c.linger_after_send && !c.stream && !c.peer_closed && core.config->settings.limits_linger_timeout.ns != 0;
}

// Whether the close may come with the last bytes, before the client has seen any of them. Behind bytes that nobody read
// it is an RST, which takes them along: so only where the client has said all it will.
bool closes_with_send(const Core& core, const Connection& c) {
  return c.state == ConnectionState::CLOSING && !c.refuse_after_send && (c.client_is_done || c.peer_closed) &&
         !lingers(core, c);
}

// Whether all that is left to do when the last bytes are sent is to wait for the next request.
bool rests_after_send(const Connection& c) {
  return c.exchange == nullptr && c.state == ConnectionState::READING && !c.slot.valid() && c.input.empty();
}

// Whether nobody misses it if a connection that is over is counted some milliseconds longer: no limit is near.
bool may_end_late(const Core& core, const Connection& c) {
  return !c.counted_per_client && core.shared.limiter.is_far_from(core.config->settings.limits_connections);
}

void start_send(Core& core, Connection& c) {
  if (c.sending != nullptr || c.filling == nullptr) return;
  c.sending = c.filling;
  c.filling = nullptr;
  c.sending_since = core.now;
  const bool closes = closes_with_send(core, c);
  if (closes ? may_end_late(core, c) : rests_after_send(c)) core.transport.no_hurry(c.handle);
  core.transport.send(c.handle, c.sending->parts(), closes);
}

// Everything was sent and nothing follows: the connection's last act.
void close_or_linger(Core& core, Connection& c) {
  if (c.refuse_after_send) return end_connection(core, c, EndKind::REFUSE, Reason::NONE);
  if (!lingers(core, c)) {
    end_connection(core, c, EndKind::CLOSE, Reason::NONE);
    return;
  }
  // RFC 9112 section 9.6: the client must see the answer before our kernel answers its bytes with RST.
  core.transport.shutdown_send(c.handle);
  c.state = ConnectionState::LINGERING;
  c.drained_bytes = 0;
  set_deadline(core, c, DeadlineKind::LINGER, core.config->settings.limits_linger_timeout);
}

}  // namespace

void mark_for_flush(Core& core, Connection& c) {
  if (c.in_flush_list) return;
  c.in_flush_list = true;
  core.flush_list.push_back(&c);
}

Outgoing* room_for(Core& core, Connection& c, size_t bytes, size_t parts) {
  ASSERT(bytes <= Outgoing::BYTES_MAX);
  if (c.filling != nullptr && !c.filling->fits(bytes, parts)) {
    if (c.sending != nullptr) return nullptr;
    start_send(core, c);
  }
  if (c.filling == nullptr) c.filling = core.outgoings.take();
  if (c.filling != nullptr) mark_for_flush(core, c);
  return c.filling;
}

void flush_all(Core& core) {
  // Ending a connection may be part of it; new entries cannot come up meanwhile.
  for (size_t i = 0; i < core.flush_list.size(); ++i) {
    Connection* c = core.flush_list[i];
    if (c == nullptr) continue;
    c->in_flush_list = false;
    if (c->filling != nullptr && c->filling->empty()) {
      core.outgoings.give(c->filling);
      c->filling = nullptr;
    }
    if (c->reset_at_flush) {
      end_connection(core, *c, EndKind::RESET, c->reset_reason);
      continue;
    }
    start_send(core, *c);
    if (c->sending == nullptr && c->state == ConnectionState::CLOSING) close_or_linger(core, *c);
  }
  core.flush_list.clear();
}

void connection_sent(Core& core, Connection& c) {
  ASSERT(c.sending != nullptr);
  core.outgoings.give(c.sending);
  c.sending = nullptr;
  if (c.exchange != nullptr && c.exchange->dispatch != nullptr) core.pools->sent(*c.exchange);
  if (c.filling != nullptr) {
    start_send(core, c);
    return;
  }
  if (c.exchange != nullptr) {
    if (!c.exchange->waits_send) return;  // it waits for something else; what was sent came before it
    c.exchange->waits_send = false;
    resume_exchange(core, *c.exchange, Step::DELIVER);
    if (c.exchange != nullptr) return;
  } else if (c.state == ConnectionState::CLOSING) {
    close_or_linger(core, c);
    return;
  } else if (c.state == ConnectionState::READING && !c.slot.valid()) {
    await_request(core, c);  // the peer's time to ask again begins here
  }
  connection_go_on(core, c);
}

}  // namespace penstock
