#include "src/server/streams.h"

#include "src/server/connections.h"
#include "src/server/leaving.h"

namespace penstock {
namespace {

// The carrier, or nullptr: it ends before its streams where the peer, or a timeout, ends it.
Connection* find_carrier(Core& core, Handle carrier) {
  return carrier.valid() && core.transport.is_open(carrier) ? core.by_handle[carrier.index] : nullptr;
}

}  // namespace

void begin_stream(Core& core, Connection& c, Handle handle) {
  c.stream = true;
  c.carrier = handle;
  Connection* carrier = find_carrier(core, handle);
  if (carrier == nullptr) {  // what it asked for is lost with it: FAILED follows
    c.facts.id = core.journal.next_connection_id();
    c.facts.accepted = core.now;
    await_request(core, c);
    return;
  }
  c.facts = carrier->facts;
  c.requests = carrier->requests++;
  ++carrier->streams;
  if (carrier->state != ConnectionState::CARRYING && is_leaving(core, *carrier)) {
    set_deadline(core, *carrier, DeadlineKind::DRAIN, core.config->settings.server_drain_idle_timeout);
  }
  carrier->state = ConnectionState::CARRYING;
  const uint32_t requests_max = core.config->settings.limits_requests_per_connection;
  if (requests_max != 0 && carrier->requests == requests_max) {
    core.transport.drain(handle);
    core.transport.drain(handle);  // at once: the next one would be one too many
  }
  await_request(core, c);
}

void end_stream(Core& core, const Connection& stream) {
  Connection* carrier = find_carrier(core, stream.carrier);
  if (carrier == nullptr) return;
  ASSERT(carrier->streams > 0);
  if (--carrier->streams > 0 || carrier->state != ConnectionState::CARRYING) return;
  if (carrier->peer_closed) {
    end_connection(core, *carrier, EndKind::CLOSE, Reason::NONE);
  } else {
    await_request(core, *carrier);
  }
}

void refuse_streams(Core& core, Connection& carrier) {
  core.transport.drain(carrier.handle);
  carrier.deadline = MonoTime::never();
}

}  // namespace penstock
