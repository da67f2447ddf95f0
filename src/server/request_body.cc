#include "src/server/request_body.h"

#include "src/server/connections.h"
#include "src/server/walk.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

// Ends the connection behind what it was answered.
void close_behind_answer(Core& core, Connection& c) {
  c.state = ConnectionState::CLOSING;
  c.linger_after_send = true;
  mark_for_flush(core, c);
}

void let_go(Core& core, Connection& c) {
  Exchange& ex = *c.exchange;
  ex.held = false;
  c.awaits_body = false;
  c.body = BodyKind::NONE;
  resume_exchange(core, ex, ex.held_for);
}

uint64_t body_bytes_max(const Core& core, const Exchange& ex) {
  return ex.site == nullptr ? core.config->settings.limits_body_bytes : ex.site->body_bytes;
}

}  // namespace

size_t drain_body(Core& core, Connection& c, std::string_view bytes) {
  size_t used = 0;
  bool done = false;
  if (c.body == BodyKind::LENGTH) {
    used = static_cast<size_t>(std::min<uint64_t>(bytes.size(), c.body_left));
    c.body_left -= used;
    done = c.body_left == 0;
  } else {
    while (used < bytes.size()) {
      const ChunkStep step = c.chunks.next(bytes.substr(used));
      used += step.consumed;
      if (step.state == ChunkState::DATA) continue;
      if (step.state == ChunkState::BAD) {
        // An application answered before it had read all: nothing more can be said, but the framing is lost.
        record_connection(core, c.facts, c.chunks.error());
        core.counters.parse_errors.add();
        close_behind_answer(core, c);
        return bytes.size();
      }
      done = step.state == ChunkState::DONE;
      break;
    }
  }
  c.drained_bytes += used;
  if (done) {
    c.body = BodyKind::NONE;
    await_request(core, c);
    return used;
  }
  if (c.drained_bytes > core.config->settings.limits_drain_bytes) {
    close_behind_answer(core, c);  // enough: what is left is not worth the connection
    return bytes.size();
  }
  set_deadline(core, c, DeadlineKind::BODY, patience_with(core, c).body);
  return used;
}

bool waits_for_body(const Exchange& ex, Step next) {
  return next != Step::ROUTE && next != Step::DISPATCH && !ex.lingers && ex.connection != nullptr &&
         !ex.connection->stream;
}

void hold_answer(Core& core, Exchange& ex, Step next) {
  Connection& c = *ex.connection;
  ex.held = true;
  ex.held_for = next;
  c.body = BodyKind::CHUNKED;
  c.chunks = ChunkDecoder{};
  c.drained_bytes = 0;
  c.awaits_body = true;
  set_deadline(core, c, DeadlineKind::BODY, patience_with(core, c).body);
}

size_t read_held_body(Core& core, Connection& c, std::string_view bytes) {
  Exchange& ex = *c.exchange;
  const uint64_t body_max = body_bytes_max(core, ex);
  size_t used = 0;
  while (used < bytes.size()) {
    const ChunkStep step = c.chunks.next(bytes.substr(used));
    used += step.consumed;
    switch (step.state) {
      case ChunkState::NEED_MORE:
        break;  // with all of `bytes`
      case ChunkState::DATA:
        if (c.chunks.body_bytes() <= body_max) break;
        refuse_held(core, c, Reason::ENTITY_TOO_LARGE);
        return bytes.size();
      case ChunkState::BAD:
        core.counters.parse_errors.add();
        refuse_held(core, c, c.chunks.error());
        return bytes.size();
      case ChunkState::DONE:
        ex.body_done = true;
        let_go(core, c);
        return used;
    }
  }
  c.drained_bytes += used;
  if (c.drained_bytes > core.config->settings.limits_drain_bytes) {  // the rest is not worth the connection
    ex.keep_alive = false;
    ex.lingers = true;
    let_go(core, c);
  } else {
    set_deadline(core, c, DeadlineKind::BODY, patience_with(core, c).body);
  }
  return used;
}

void refuse_held(Core& core, Connection& c, Reason why) {
  Exchange& ex = *c.exchange;
  // Nothing is said of what would have been the answer.
  if (std::exchange(ex.entry_pinned, false)) ex.entry->unpin();
  ex.entry = nullptr;
  ex.to_https = false;
  ex.location.clear();
  ex.text.clear();
  ex.reason = why;
  ex.verdict = Verdict::BAD_REQUEST;
  ex.keep_alive = false;
  ex.lingers = true;
  ex.held_for = Step::DELIVER;
  let_go(core, c);
}

}  // namespace penstock
