// The way up: what workers say, as bytes for clients; and every end of a request.
#include "src/server/connections.h"
#include "src/server/pools/answer_copy.h"
#include "src/server/pools/answer_head.h"
#include "src/server/pools/filtering.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/pools/pool_reports.h"
#include "src/server/pools/refresh.h"
#include "src/server/steps/deliver.h"
#include "src/server/steps/steps.h"

#include <algorithm>
#include <charconv>

namespace penstock {
namespace {

// From the flag in the ring to the signal, for a worker that does not look: the supervisor's ladder begins there.
constexpr Duration CANCEL_GRACE = milliseconds(30);
constexpr size_t WHAT_BYTES_MAX = 200;  // of a request target, for the operator
constexpr size_t PIECE_FRAME_MAX = 12;  // "1ffff\r\n" and "\r\n"
constexpr size_t PIECE_MIN = 2 * 1024;  // less room than this waits for the next Outgoing
constexpr std::string_view LAST_CHUNK = "0\r\n\r\n";

bool is_idempotent(Method method) {  // RFC 9110 section 9.2.2
  switch (method) {
    case Method::GET:
    case Method::HEAD:
    case Method::OPTIONS:
    case Method::PUT:
    case Method::DELETE:
    case Method::TRACE:
      return true;
    default:
      return false;
  }
}

AnswerFraming framing_of(const Exchange& ex, uint16_t status, uint64_t length) {
  if (ex.head.method == Method::HEAD || status_is_bodiless(status)) return AnswerFraming::NONE;
  if (length != PENSTOCK_LENGTH_UNKNOWN) return AnswerFraming::LENGTH;
  return ex.http_1_0 ? AnswerFraming::CLOSE : AnswerFraming::CHUNKED;
}

}  // namespace

bool PoolBridge::take_events(PoolLink& link, uint32_t most) {
  LinkEvent event;
  uint32_t taken = 0;
  for (; taken < most && link.link.next(event); ++taken) take_event(link, event);
  if (link.must_be_told()) report_broken(link);
  return taken > 0;
}

void PoolBridge::take_event(PoolLink& link, const LinkEvent& event) {
  if (event.kind == LinkEvent::Kind::READY) return take_ready(link);
  if (event.kind == LinkEvent::Kind::PONG) {
    link.ping_out = false;
    return;
  }
  if (link.warm_up != nullptr && link.warm_up->exchange == event.exchange) return take_warm_up(link, event);
  Dispatch& d = *link.inside[event.exchange.index];
  const bool speaks = event.kind != LinkEvent::Kind::CONSUMED && event.kind != LinkEvent::Kind::LOG;
  if (d.filter != nullptr && speaks && !take_filtered(link, d, event)) return;
  if (d.refresh != nullptr && speaks) {
    take_refreshed(d, event);
    if (!event.end) return;
    end_inside(link, d);
    if (d.copy != nullptr) keep_copy(d);
    return release(d);
  }
  const bool held = d.exchange != nullptr && d.exchange->filtered && d.exchange->filters->held != nullptr;
  switch (event.kind) {
    case LinkEvent::Kind::HEAD:
      take_head(d, event);
      break;
    case LinkEvent::Kind::DATA:
      held ? hold_piece(d, event) : take_data(d, event.body);
      break;
    case LinkEvent::Kind::CONSUMED:
      return make_room(link);
    case LinkEvent::Kind::LOG:
      report(PoolReport::Kind::SAID, link, std::string(event.body));
      return;
    case LinkEvent::Kind::EXECUTE:
      return execute(link, d, event.body);
    case LinkEvent::Kind::FILE:
    case LinkEvent::Kind::ENTRY:
      held ? hold_piece(d, event) : take_part(d, event);
      break;
    case LinkEvent::Kind::ABORTED:
      give_up(d, Reason::WORKER_ABORTED, true);
      break;
    default:
      break;  // ENDED: it was cancelled, and its place is free now
  }
  d.whole = d.whole || (event.end && !d.failed);
  if (event.end) end_inside(link, d);
  Exchange* const ex = d.exchange;
  if (ex == nullptr) {
    if (!d.inside) release(d);
    return;
  }
  if (d.whole && d.copy != nullptr) keep_copy(d);
  if (d.begun && !ex->waits_send && (d.whole || d.failed || d.pending_bytes() > 0 || !d.parts.empty())) go_on(*ex);
}

// The worker has ended it: its place is free, also if the client has still to take the answer.
void PoolBridge::end_inside(PoolLink& link, Dispatch& d) {
  link.inside[d.handle.index] = nullptr;
  d.inside = false;
  wheel_.disarm(d.timer);
  if (d.refresh != nullptr) core_.journal.worker_done(d.refresh->exchange.slot, core_.now);
  if (d.filter != nullptr) {
    if (d.exchange != nullptr || d.filter->record != nullptr) core_.journal.worker_done(slot_of_filter(d), core_.now);
  } else if (d.exchange != nullptr) {
    core_.journal.worker_done(d.exchange->slot, core_.now);  // what kills the worker from now on is not this
    d.exchange->connection->awaits_body = false;             // nobody reads on here
  }
  if (d.overran) link.worker.overrun.fetch_sub(1);
  count_served(link);
  link.worker.busy_ns.store(core_.now.ns, std::memory_order_relaxed);
  link.worker.leave();
  make_room(link);
  hand_on(link.pool);
}

// Chunks of the link have come free: bodies that waited for one go on.
void PoolBridge::make_room(PoolLink& link) {
  body_due_.insert(body_due_.end(), link.cramped.begin(), link.cramped.end());
  link.cramped.clear();
}

void PoolBridge::go_on(Exchange& ex) {
  Connection& c = *ex.connection;
  resume_exchange(core_, ex, Step::DELIVER);
  if (c.exchange == nullptr) connection_go_on(core_, c);
}

Exchange& PoolBridge::exchange_of(Dispatch& d) { return d.refresh != nullptr ? d.refresh->exchange : *d.exchange; }

// --- an answer ------------------------------------------------------------------------------

void PoolBridge::take_head(Dispatch& d, const LinkEvent& event) {
  Exchange* const ex = d.exchange;
  if (ex == nullptr || d.refused) return;
  const bool released = ex->filtered && ex->filters->released;
  if (!released && replace_error(d, event)) return;
  if (ex->filtered && hold_answer_head(*ex, event)) return;
  std::vector<LinkField> room_of_shown;
  const ShownHead shown = shown_head(*ex, event, room_of_shown);
  // An answer that is whole in one message has a length, whether or not the application counted.
  const bool counted = event.end && event.length == PENSTOCK_LENGTH_UNKNOWN;
  const uint64_t length = counted ? event.body.size() : event.length;
  d.framing = framing_of(*ex, shown.status, length);
  Connection& c = *ex->connection;
  if (d.framing == AnswerFraming::CLOSE) ex->keep_alive = false;
  // What the client still has to send of its body must be read before its next request, or never.
  const bool long_rest = c.body == BodyKind::LENGTH && c.body_left > core_.config->settings.limits_drain_bytes;
  if (!d.body_whole && (d.owes_continue || long_rest)) {
    ex->keep_alive = false;
    ex->lingers = true;
  }
  const std::string& route_fields = ex->route->header_lines(ex->secure);
  std::string site_fields;  // longer than the route's own only for a client that is to come back to this worker
  const PoolSettings* const settings = settings_of(*d.pool);
  if (settings != nullptr && settings->balance == BalanceSetting::STICKY && d.sticky != d.worker && !d.of_filter) {
    site_fields = route_fields;
    site_fields.append("Set-Cookie: ").append(STICKY_COOKIE).append("=").append(std::to_string(d.worker));
    site_fields.append("; Path=").append(ex->route->prefix).append("; HttpOnly; SameSite=Lax\r\n");
  }
  if (const std::string vary = vary_line(event.policy, event.fields); !vary.empty()) {
    if (site_fields.empty()) site_fields = route_fields;
    site_fields += vary;
  }
  const AnswerHead head{
      .status = shown.status,
      .fields = shown.fields,
      .site_fields = site_fields.empty() ? std::string_view(route_fields) : std::string_view(site_fields),
      .framing = d.framing,
      .length = ex->head.method == Method::HEAD ? event.length : length,
      .keep_alive = ex->keep_alive,
      .http_1_0 = ex->http_1_0};
  const size_t most = answer_head_bytes_max(head);
  if (most > Outgoing::BYTES_MAX) {
    if (shown.changed) fail_held(*ex, ex->filters->pools.front().pool->name, Reason::FILTER_INVALID);
    return give_up(d, Reason::WORKER_HEAD_INVALID, event.end);  // unless that was said
  }
  Outgoing* const out = room_for(core_, c, most, 0);
  if (out == nullptr) d.pending.resize(most);
  const std::span<char> room = out != nullptr ? out->reserve(most) : std::span(d.pending);
  const std::string_view text = write_answer_head(room, head, core_.wall.unix_seconds(), ex->config->server_header);
  if (text.empty()) {
    d.pending.clear();
    return give_up(d, Reason::WORKER_HEAD_INVALID, event.end);
  }
  if (out != nullptr) {
    out->commit(text.size());
  } else {
    d.pending.resize(text.size());
    d.head_bytes = text.size();
  }
  core_.journal.stage(ex->slot, Stage::DELIVER, core_.now);
  core_.journal.moment(ex->slot, Moment::FIRST_BYTE_OUT, core_.now);
  d.begun = true;
  d.left = length;
  ex->composed = true;
  ex->reason = Reason::OK;
  ex->app_status = shown.status;
  ex->head_bytes_out = text.size();
  core_.journal.bytes_out(ex->slot, text.size());
  begin_copy(d, *ex, event, length);
  if (d.copy == nullptr) give_up_copy(d, *ex);
  take_data(d, event.body);
}

void PoolBridge::take_data(Dispatch& d, std::string_view bytes) {
  Exchange* const ex = d.exchange;
  if (ex == nullptr || !d.begun || d.failed) return;
  if (d.copy != nullptr && !d.copy->add(bytes)) {
    ex->verdict = Verdict::TOO_LARGE;
    give_up_copy(d, *ex);
  }
  size_t used = bytes.size();
  if (d.framing != AnswerFraming::NONE) {
    const bool direct = d.pending.empty() && d.parts.empty() && !ex->waits_send;
    used = direct ? put_data(*ex, d, bytes) : 0;
    const std::string_view rest = bytes.substr(used);  // bounded by the link's window
    if (!rest.empty() && d.parts.empty()) {
      d.pending.append(rest);
    } else if (!rest.empty()) {
      if (!d.parts.back().is_text) d.parts.emplace_back();
      d.parts.back().text.append(rest);
    }
  }
  if (d.inside && d.link->link.is_open(d.handle)) grant(d, used);
}

// Copies as much of a body as there is room for: once, out of memory that the worker can change.
size_t PoolBridge::put_data(Exchange& ex, Dispatch& d, std::string_view bytes) {
  const size_t frame = d.framing == AnswerFraming::CHUNKED ? PIECE_FRAME_MAX : 0;
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t rest = bytes.size() - done;
    Outgoing* const out = room_for(core_, *ex.connection, std::min(rest, PIECE_MIN) + frame, 0);
    if (out == nullptr) break;
    const size_t size = std::min(rest, out->room() - frame);
    if (frame > 0) {
      std::array<char, PIECE_FRAME_MAX> text;
      char* end = std::to_chars(text.data(), text.data() + text.size(), size, 16).ptr;
      *end++ = '\r';
      *end++ = '\n';
      out->copy({text.data(), static_cast<size_t>(end - text.data())});
    }
    out->copy(bytes.substr(done, size));
    if (frame > 0) out->copy("\r\n");
    core_.counters.bytes_copied.add(size);
    done += size;
  }
  ex.body_bytes_out += done;
  core_.journal.bytes_out(ex.slot, ex.head_bytes_out + ex.body_bytes_out);
  if (d.framing == AnswerFraming::LENGTH) d.left -= std::min<uint64_t>(d.left, done);
  return done;
}

StepResult PoolBridge::deliver(Exchange& ex) {
  Dispatch& d = *ex.dispatch;
  Connection& c = *ex.connection;
  if (d.head_bytes > 0) {
    Outgoing* const out = room_for(core_, c, d.head_bytes, 0);
    if (out == nullptr) return wait_for_sent(ex);
    out->copy(std::string_view(d.pending).substr(0, d.head_bytes));
    d.drop_pending(std::exchange(d.head_bytes, 0));
  }
  if (d.pending_bytes() > 0) {
    const size_t put = put_data(ex, d, std::string_view(d.pending).substr(d.pending_next));
    d.drop_pending(put);
    grant(d, put);
    if (d.pending_bytes() > 0) return wait_for_sent(ex);
  }
  d.pending.clear();
  d.pending_next = 0;
  switch (put_parts(ex, d)) {
    case Put::NO_ROOM:
      return wait_for_sent(ex);
    case Put::WAITS:
      return StepResult::PARKED;
    case Put::ALL:
      break;
  }
  // Files may turn out shorter than what was announced around them.
  if (d.whole && d.framing == AnswerFraming::LENGTH && d.left > 0 && !d.failed) {
    d.failed = true;
    ex.reason = Reason::WORKER_HEAD_INVALID;
  }
  if (d.failed) {
    cut(d, ex.reason);
    return StepResult::PARKED;
  }
  if (!d.whole) return StepResult::PARKED;
  if (d.framing == AnswerFraming::CHUNKED) {
    Outgoing* const out = room_for(core_, c, LAST_CHUNK.size(), 0);
    if (out == nullptr) return wait_for_sent(ex);
    out->copy(LAST_CHUNK);
  }
  detach(d);
  return StepResult::DONE;
}

// That URL of the same site answers in this one's place.
void PoolBridge::execute(PoolLink& link, Dispatch& d, std::string_view target) {
  const std::string copy(target);  // out of the worker's memory, once
  end_inside(link, d);
  Exchange* const ex = d.exchange;
  if (ex == nullptr) return release(d);
  if (d.refused) return;
  detach(d);
  if (ex->head.body != BodyKind::NONE && !ex->body_done) leave_body_unread(core_, *ex);
  Connection& c = *ex->connection;
  execute_instead(core_, *ex, copy);
  if (c.exchange == nullptr) connection_go_on(core_, c);
}

// --- ends -----------------------------------------------------------------------------------

// The answer cannot become whole. `ended`: the worker has said its last word of it.
void PoolBridge::give_up(Dispatch& d, Reason reason, bool ended) {
  if (!ended && d.inside) cancel(d, PENSTOCK_CANCEL_CLIENT_GONE);
  Exchange* const ex = d.exchange;
  if (ex == nullptr) return;
  if (d.begun) {
    d.failed = true;
    ex->reason = reason;
    return;
  }
  refuse_later(d, reason);
}

// Says `reason` to the client. REQUIRES: nothing was said yet, and it does not wait in the queue.
void PoolBridge::answer(Dispatch& d, Reason reason) {
  if (d.refresh != nullptr) return release(d);
  if (d.filter != nullptr) return fail_filter(d, reason);
  Exchange& ex = *d.exchange;
  if (!d.body_whole) leave_body_unread(core_, ex);
  if (ex.filtered) drop_held(ex);
  const bool filter_failed = ex.filtered && ex.filters->over;  // no answer of before may stand in for its refusal
  if (!filter_failed && (ex.entry != nullptr || use_stale(ex))) {
    complete_fill(core_, ex, ex.entry);
  } else {
    ex.reason = reason;
    ex.verdict = Verdict::NOT_STATIC;
  }
  detach(d);
  go_on(ex);
}

// Its head has gone out, and what it promised cannot be kept: the client must see that (RFC 9112 section 8).
void PoolBridge::cut(Dispatch& d, Reason reason) {
  Connection& c = *d.exchange->connection;
  c.reset_at_flush = true;
  c.reset_reason = reason;
  mark_for_flush(core_, c);
}

// The exchange goes on without us. The worker may still have the request.
void PoolBridge::detach(Dispatch& d) {
  Exchange& ex = *d.exchange;
  complete_fill(core_, ex, nullptr);
  ex.dispatch = nullptr;
  ex.body_done = ex.body_done || ((d.body_whole || d.end_owed) && ex.executed == 0 && !d.of_filter);
  ex.connection->awaits_body = false;
  d.exchange = nullptr;
  if (!d.inside) release(d);
}

void PoolBridge::release(Dispatch& d) {
  wheel_.disarm(d.timer);
  if (d.refresh != nullptr) close_refresh(*d.refresh, d.failed || d.overran ? Reason::WORKER_ABORTED : Reason::OK);
  dispatches_.give(&d);
}

void PoolBridge::cancel(Dispatch& d, penstock_cancel_reason reason) {
  if (d.cancelled) return;
  d.cancelled = true;
  d.link->link.cancel(d.handle, reason);
  activate(*d.link);
}

void PoolBridge::leave(Exchange& ex) {
  Dispatch& d = *ex.dispatch;
  complete_fill(core_, ex, nullptr);
  ex.dispatch = nullptr;
  let_go(d);
}

// Nobody wants its answer any more.
void PoolBridge::let_go(Dispatch& d) {
  d.exchange = nullptr;
  if (d.queued()) {
    d.pool->queue.remove(d);
    leave_queue(*d.pool);
  } else if (d.inside) {
    cancel(d, PENSTOCK_CANCEL_CLIENT_GONE);
    return;  // the timer stays: a worker that does not let go of it in time is ended
  }
  release(d);
}

bool PoolBridge::may_leave(const Exchange& ex) const {
  const Dispatch& d = *ex.dispatch;
  return d.queued() || !(d.body_whole || d.end_owed);
}

// The worker that had it is no more.
void PoolBridge::lose(Dispatch& d, Reason reason) {
  const bool harmful = d.link->worker.intruded.load(std::memory_order_relaxed);
  d.link->worker.leave();
  d.inside = false;
  d.link = nullptr;
  if (d.filter != nullptr) return lose_filter(d, reason, harmful);
  Exchange* const ex = d.exchange;
  if (ex == nullptr) return release(d);
  ex->connection->awaits_body = false;
  if (d.failed || d.refused) return;
  if (ex->filtered && !d.begun) drop_held(*ex);
  if (!d.begun && use_stale(*ex)) return answer(d, reason);
  switch (answer_lost({.idempotent = is_idempotent(ex->head.method),
                       .body_kept = !d.body_sent,
                       .answer_begun = d.begun,
                       .harmful = harmful,
                       .tries = d.tries})) {
    case LostAnswer::AGAIN:
      core_.journal.worker(ex->slot, 0, core_.now);
      return put_back(d);
    case LostAnswer::BAD_GATEWAY:
      return answer(d, reason);
    case LostAnswer::CUT:
      ex->reason = reason;
      d.failed = true;
      if (!ex->waits_send) go_on(*ex);
      return;
  }
}

void PoolBridge::lose_all(PoolLink& link, Reason reason) {
  for (Dispatch*& place : link.inside) {
    if (Dispatch* const d = std::exchange(place, nullptr)) lose(*d, reason);
  }
}

// For the supervisor, which finds no record of them any more: they were answered when their time was over.
std::string PoolBridge::overrun_requests(const PoolLink& link) {
  constexpr size_t LISTED_MAX = 4;
  std::string text;
  size_t count = 0;
  for (const Dispatch* const d : link.inside) {
    if (d == nullptr || d->what.empty()) continue;
    if (++count <= LISTED_MAX) text += (text.empty() ? "" : ", ") + d->what;
  }
  if (count > LISTED_MAX) text += " and " + std::to_string(count - LISTED_MAX) + " more";
  return text;
}

// request_timeout has passed, or the grace behind it.
void PoolBridge::expire(Dispatch& d) {
  if (d.queued()) {
    d.pool->queue.remove(d);
    leave_queue(*d.pool);
    return answer(d, Reason::APP_POOL_TIMER);
  }
  if (!d.inside) return;
  PoolLink& link = *d.link;
  if (d.cancelled) {  // by now, or long ago because its client left
    link.worker.takes.store(false, std::memory_order_relaxed);
    return report(PoolReport::Kind::OVERDUE, link, overrun_requests(link));
  }
  if (d.filter != nullptr) {
    d.what = d.filter->what;
  } else {
    const RequestHead& head = exchange_of(d).head;
    d.what.assign(head.method_text).append(" ").append(head.target.substr(0, WHAT_BYTES_MAX));
  }
  cancel(d, PENSTOCK_CANCEL_TIMEOUT);
  d.overran = true;
  link.worker.overrun.fetch_add(1);
  wheel_.arm(d.timer, core_.now + CANCEL_GRACE);
  if (d.filter != nullptr) return fail_filter(d, Reason::WORKER_TIMEOUT);
  if (d.refresh != nullptr) {
    d.copy.reset();
    return complete_fill(core_, d.refresh->exchange, nullptr);
  }
  if (!d.begun) return answer(d, Reason::WORKER_TIMEOUT);
  d.failed = true;
  d.exchange->reason = Reason::WORKER_TIMEOUT;
  cut(d, Reason::WORKER_TIMEOUT);
}

}  // namespace penstock
