// Deadlines of connections: which patience has run out, and what the peer and the log are told.

#include "src/server/connections.h"
#include "src/server/request_body.h"
#include "src/server/streams.h"
#include "src/server/walk.h"

#include <algorithm>

namespace penstock {
namespace {

// Whether the peer took less than limits.send_rate_min over a whole window. Moves the mark on. What the kernel took
// from us says too little: it has room for megabytes, and tells of new room only when a third of them is free.
bool sends_too_slowly(Core& core, Connection& c) {
  const Settings& settings = core.config->settings;
  const uint64_t rate_min = patience_with(core, c).send_rate_min;
  if (rate_min == 0) return false;
  const auto taken = static_cast<int64_t>(core.transport.bytes_sent(c.handle)) -
                     static_cast<int64_t>(core.transport.bytes_held(c.handle));
  const MonoTime since = std::max(c.sent_mark_at, c.sending_since);
  if (core.now - since < settings.limits_send_rate_window) {
    if (c.sent_mark_at < c.sending_since) {  // first look at this send
      c.sent_mark = taken;
      c.sent_mark_at = core.now;
    }
    return false;
  }
  const int64_t progress = taken - c.sent_mark;
  const int64_t wanted = static_cast<int64_t>(rate_min) * (core.now - since).s();
  c.sent_mark = taken;
  c.sent_mark_at = core.now;
  return progress < wanted;
}

void expire(Core& core, Connection& c) {
  switch (c.deadline_kind) {
    case DeadlineKind::HEADER:
      core.counters.timeouts_head.add();
      if (c.slot.valid()) {
        c.parser.reset();
        const std::string raw = std::move(c.input);
        c.input.clear();
        refuse_head(core, c, raw, Reason::TIMER_HEADER_WAIT);
        return;
      }
      end_connection(core, c, EndKind::CLOSE, Reason::TIMER_CONNECTION_IDLE);
      return;
    case DeadlineKind::IDLE:
      if (c.sending != nullptr) return await_request(core, c);  // it is being answered: that is for the send rate
      core.counters.timeouts_idle.add();
      end_connection(core, c, EndKind::CLOSE, Reason::TIMER_CONNECTION_IDLE);
      return;
    case DeadlineKind::BODY:
      core.counters.timeouts_body.add();
      if (c.exchange != nullptr && c.exchange->held) return refuse_held(core, c, Reason::TIMER_ENTITY_BODY);
      end_connection(core, c, EndKind::CLOSE, Reason::TIMER_ENTITY_BODY);
      return;
    case DeadlineKind::LINGER:
      core.counters.timeouts_linger.add();
      end_connection(core, c, EndKind::CLOSE, Reason::NONE);
      return;
    case DeadlineKind::DRAIN:
      if (c.state == ConnectionState::CARRYING) return refuse_streams(core, c);
      if (c.sending != nullptr) return await_request(core, c);
      if (!c.stream) core.counters.connections_drained.add();
      end_connection(core, c, EndKind::CLOSE, Reason::NONE);
      return;
  }
}

}  // namespace

void remember_site(Connection& c, const Exchange& exchange) {
  const Site* site = answering_site(exchange);
  c.site = site == nullptr ? 0 : site->number + 1;
  c.site_generation = exchange.config->serving_generation;
}

const Patience& patience_with(const Core& core, const Connection& c) {
  const Snapshot& config = *core.config;
  // Under another serving generation the number may be another site's: until it answers again it is nobody's client.
  if (c.site == 0 || c.site_generation != config.serving_generation) return config.patience;
  const Site* site = config.routes.site_numbered(c.site - 1);
  return site == nullptr ? config.patience : site->patience;
}

void connection_timer(Core& core, Connection& c) {
  c.timer_due = MonoTime::never();
  if (c.state == ConnectionState::CLOSED) return;
  if (c.sending != nullptr && sends_too_slowly(core, c)) {
    core.counters.timeouts_send.add();
    end_connection(core, c, EndKind::RESET, Reason::TIMER_MIN_BYTES_PER_SECOND);
    return;
  }
  const bool has_deadline = c.state == ConnectionState::READING || c.state == ConnectionState::DRAINING ||
                            c.state == ConnectionState::LINGERING || c.awaits_body ||
                            (c.state == ConnectionState::CARRYING && c.deadline_kind == DeadlineKind::DRAIN);
  if (has_deadline && core.now >= c.deadline) {
    expire(core, c);
    return;
  }
  const MonoTime look_again = core.now + core.config->settings.limits_send_rate_window;
  c.timer_due = has_deadline ? std::min(c.deadline, look_again) : look_again;
  core.wheel.arm(c.timer, c.timer_due);
}

}  // namespace penstock
