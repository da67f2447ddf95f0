// How a connection comes in, or is told that it may not.

#include "src/server/client_address.h"
#include "src/server/connections.h"
#include "src/server/leaving.h"
#include "src/server/streams.h"

#include <algorithm>
#include <sys/socket.h>

namespace penstock {
namespace {

JournalAddress peer_address_of(const PeerAddress& from) {
  JournalAddress to;
  to.port = from.port;
  if (from.family == AF_INET) {
    to.family = JournalAddress::IPV4;
    to.ip[10] = to.ip[11] = 0xff;
    std::copy_n(from.ip, 4, to.ip.begin() + 12);
  } else if (from.family == AF_INET6) {
    to.family = JournalAddress::IPV6;
    std::copy_n(from.ip, 16, to.ip.begin());
  } else if (from.family == AF_UNIX) {
    to.family = JournalAddress::UNIX;
  }
  return to;
}

}  // namespace

void record_connection(Core& core, const ConnectionFacts& facts, Reason reason, uint64_t head_bytes_out) {
  const ReasonInfo& info = reason_info(reason);
  Outcome outcome;
  outcome.status = info.status;
  outcome.sub_status = info.sub_status;
  outcome.reason = static_cast<uint16_t>(reason);
  outcome.verdict = static_cast<uint16_t>(Verdict::BAD_REQUEST);
  outcome.head_bytes_out = head_bytes_out;
  core.journal.connection(core.now, facts, static_cast<uint32_t>(core.config->generation), outcome);
}

void refuse_connection(Core& core, Connection& c, Reason reason) {
  Outgoing* out = room_for(core, c, core.config->refusal.size(), 0);
  c.state = ConnectionState::CLOSING;
  c.linger_after_send = true;
  core.counters.connections_refused.add();
  if (out == nullptr) {
    c.reset_at_flush = true;
  } else {
    out->copy(core.config->refusal);
  }
  record_connection(core, c.facts, reason, core.config->refusal.size());
  mark_for_flush(core, c);
}

void connection_accepted(Core& core, const TransportEvent& event) {
  const LayerFacts layer = core.transport.layer(event.conn);
  Connection* taken = core.connections.take();
  if (!layer.stream) core.counters.connections_accepted.add();
  if (taken == nullptr) {
    ConnectionFacts facts{.id = core.journal.next_connection_id(),
                          .accepted = core.now,
                          .client = peer_address_of(event.peer),
                          .server = {}};
    Outcome outcome;
    outcome.reason = static_cast<uint16_t>(Reason::CONNECTION_LIMIT);
    core.journal.connection(core.now, facts, static_cast<uint32_t>(core.config->generation), outcome);
    core.counters.connections_refused.add();
    core.transport.reset(event.conn);
    return;
  }
  Connection& c = *taken;
  c.handle = event.conn;
  c.peer = event.peer;
  c.listener = event.id;
  c.secure = layer.secure;
  c.client_rules = layer.client_rules;
  core.transport.set_context(event.conn, &c);  // for CLOSED, when the handle is dead
  if (core.by_handle.size() <= event.conn.index) core.by_handle.resize(event.conn.index + 1);
  core.by_handle[event.conn.index] = &c;
  if (layer.stream) return begin_stream(core, c, layer.carrier);
  c.facts = {.id = core.journal.next_connection_id(),
             .accepted = core.now,
             .client = peer_address_of(event.peer),
             .server = peer_address_of(core.transport.local_address(event.conn))};
  core.counters.connections_open.add();
  c.leaving = std::ranges::find(core.listeners_gone, event.id) != core.listeners_gone.end();
  const Settings& settings = core.config->settings;
  await_request(core, c);
  if (c.leaving) drain_connection(core, c);
  const auto admission = core.shared.limiter.enter(
      c.peer, settings.limits_connections,
      is_trusted_proxy(settings, c.facts.client) ? 0 : settings.limits_connections_per_client);
  c.counted_per_client = admission.counted_per_client;
  c.counted = admission.answer == ConnectionLimiter::Answer::ADMITTED;
  if (admission.answer == ConnectionLimiter::Answer::OVER_TOTAL) {
    refuse_connection(core, c, Reason::CONNECTION_LIMIT);
  } else if (admission.answer == ConnectionLimiter::Answer::OVER_PER_CLIENT) {
    refuse_connection(core, c, Reason::ADDRESS_CONNECTION_LIMIT);
  }
}

void count_by_client(Core& core) {
  const Settings& settings = core.config->settings;
  core.connections.for_each([&](Connection& c) {
    if (!c.counted || c.counted_per_client || c.state == ConnectionState::CLOSED) return;
    c.counted_per_client = !is_trusted_proxy(settings, c.facts.client) && core.shared.limiter.count_by_client(c.peer);
  });
}

void connection_noted(Core& core, const TransportEvent& event) {
  ASSERT(event.error > 0 && static_cast<size_t>(event.error) < REASON_COUNT);
  const ConnectionFacts facts{.id = core.journal.next_connection_id(),
                              .accepted = core.now,
                              .client = peer_address_of(event.peer),
                              .server = {}};
  record_connection(core, facts, static_cast<Reason>(event.error));
}

}  // namespace penstock
