#include "src/server/leaving.h"

#include "src/server/connections.h"

#include <algorithm>

namespace penstock {
namespace {

// A listener that is gone brings its last connections within a few turns. So many go at once at most.
constexpr size_t LISTENERS_REMEMBERED = 128;

template <typename F>
void leave_where(Core& core, const F& wanted) {
  core.connections.for_each([&](Connection& c) {
    if (c.stream || c.leaving || c.state == ConnectionState::CLOSED || !core.transport.is_open(c.handle)) return;
    if (!wanted(c)) return;
    c.leaving = true;
    drain_connection(core, c);
  });
}

// What SETTINGS tell a client (RFC 9113 section 6.5.2), once, and what it is then held to.
bool same_promise(const Http2Options& a, const Http2Options& b) {
  return a.streams == b.streams && a.stream_window_bytes == b.stream_window_bytes &&
         a.connection_window_bytes == b.connection_window_bytes && a.head_bytes == b.head_bytes;
}

}  // namespace

bool is_leaving(const Core& core, const Connection& c) { return core.draining || c.leaving; }

void drain_connection(Core& core, Connection& c) {
  if (c.state != ConnectionState::CLOSED && core.transport.is_open(c.handle)) core.transport.drain(c.handle);
  if (c.state == ConnectionState::READING && !c.slot.valid()) await_request(core, c);
  // Who asks on all the same, though GOAWAY has told him for so long, is refused then: refuse_streams().
  if (c.state == ConnectionState::CARRYING) {
    set_deadline(core, c, DeadlineKind::DRAIN, core.config->settings.server_drain_idle_timeout);
  }
  // All others: connection_answered() sees is_leaving().
}

void drain_all(Core& core) {
  core.draining = true;
  core.connections.for_each([&core](Connection& c) {
    if (!c.leaving)
      drain_connection(core, c);  // its listener was let go before: GOAWAY twice would refuse what crosses it
  });
}

void leave_listener(Core& core, uint32_t listener) {
  std::vector<uint32_t>& gone = core.listeners_gone;
  if (gone.size() == LISTENERS_REMEMBERED) gone.erase(gone.begin());
  gone.push_back(listener);
  leave_layers(core, listener);
}

void leave_layers(Core& core, uint32_t listener) {
  leave_where(core, [listener](const Connection& c) { return c.listener == listener; });
}

void leave_http2(Core& core, const Http2Options& before, const Http2Options& now) {
  const bool all = !same_promise(before, now);
  if (!all && (now.cleartext || !before.cleartext)) return;
  leave_where(
      core, [&](const Connection& c) { return (all || !c.secure) && core.transport.layer(c.handle).http_major == 2; });
}

}  // namespace penstock
