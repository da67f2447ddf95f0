// The way down: from an exchange to a place in a worker, and the request's body after it.
#include "src/base/bytes.h"
#include "src/base/hash.h"
#include "src/http/response_head.h"
#include "src/server/client_address.h"
#include "src/server/connections.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/pools/request_writer.h"
#include "src/server/steps/steps.h"

#include <algorithm>
#include <array>

namespace penstock {
namespace {

// A reactor hands places that come free in its workers to its own requests so many times before one goes to another
// reactor whose requests wait as well: a turn for the others costs a system call.
constexpr uint32_t OWN_TURNS = 32;
// And for no longer than this: where an application takes its time, the call is nothing beside it.
constexpr Duration OWN_SPAN = milliseconds(5);

WorkerPolicy policy_of(BalanceSetting balance) {
  switch (balance) {
    case BalanceSetting::ROUND_ROBIN:
      return WorkerPolicy::ROUND_ROBIN;
    case BalanceSetting::STICKY:
      return WorkerPolicy::STICKY;
    case BalanceSetting::LEAST_LOADED:
      break;
  }
  return WorkerPolicy::LEAST_LOADED;
}

// The number of the worker that our cookie names; 0: it names none (RFC 6265 section 4.2.1).
uint64_t sticky_worker(const RequestHead& head) {
  uint64_t worker = 0;
  head.for_each(Field::COOKIE, [&worker](std::string_view value) {
    while (!value.empty()) {
      const size_t end = value.find(';');
      const std::string_view pair = trim_ows(value.substr(0, end));
      value = end == std::string_view::npos ? std::string_view{} : value.substr(end + 1);
      if (!pair.starts_with(STICKY_COOKIE) || !pair.substr(STICKY_COOKIE.size()).starts_with('=')) continue;
      worker = parse_decimal(pair.substr(STICKY_COOKIE.size() + 1)).value_or(0);
    }
  });
  return worker;
}

}  // namespace

uint64_t PoolBridge::queue_key_of(const Exchange& ex) {
  const JournalAddress& client = client_of(ex);
  return hash_bytes(client.ip.data(), client.ip.size(), hash_bytes(ex.site->name, client.family));
}

StepResult PoolBridge::dispatch(Exchange& ex) {
  core_.journal.stage(ex.slot, Stage::DISPATCH, core_.now);
  if (const StepResult found = look_again(ex); found != StepResult::NEXT) return found;
  // What was shared before is likely to be again.
  ex.outlived = ex.outlived || ex.verdict == Verdict::EXPIRED;
  const bool was_shared =
      ex.verdict == Verdict::EXPIRED || ex.verdict == Verdict::PURGED || ex.verdict == Verdict::STALE_CONFIG;
  ex.verdict = Verdict::NOT_STATIC;
  const Snapshot& config = *ex.config;
  SharedPool* const shared =
      ex.route->number < config.pool_of_route.size() ? config.pool_of_route[ex.route->number] : nullptr;
  if (shared == nullptr) return refuse(ex, Reason::HANDLER_MISSING);
  const PoolSettings& settings = *config.pools[shared->number];
  const PoolService service = shared->service.load(std::memory_order_relaxed);
  if (service == PoolService::STOPPED) return refuse(ex, Reason::APP_OFFLINE);
  if (service == PoolService::FAILED) return refuse(ex, Reason::APP_FAILED);
  if (ex.route->collapse || was_shared || ex.rejoined) {
    const StepResult joined = join_others(ex);
    if (joined != StepResult::NEXT) return joined;
  }
  Dispatch* const d = dispatches_.take();
  if (d == nullptr) return refuse(ex, Reason::SERVER_BUSY);
  ReactorPool& pool = pool_of(*shared);
  d->client = queue_key_of(ex);
  d->arrived = core_.now;
  if (!pool.queue.put(*d, settings.queue_max)) {
    dispatches_.give(d);
    // A reset says that it may be sent again: not where a filter, or an application that named this URL in place of its
    // answer, has seen it.
    const bool seen = ex.filtered || ex.executed > 0;
    return refuse(ex, Reason::QUEUE_FULL, seen ? QueueFullSetting::ANSWER : settings.queue_full);
  }
  const RequestHead& head = ex.head;
  d->exchange = &ex;
  if (settings.balance == BalanceSetting::STICKY) d->sticky = sticky_worker(head);
  // In place of another URL: the body was for that one.
  d->body_whole = head.body == BodyKind::NONE || ex.executed > 0;
  d->owes_continue = head.expect_continue && !d->body_whole;
  ex.dispatch = d;
  if (!ex.forwarded) {
    Connection& c = *ex.connection;
    ex.forwarded = true;
    c.body = head.body;
    c.body_left = head.content_length;
    c.chunks = ChunkDecoder{};
  }
  enqueued(*d, pool, settings);
  return StepResult::PARKED;
}

// It waits again, before all others. What its worker took is no time in the queue.
void PoolBridge::put_back(Dispatch& d) {
  d.arrived = core_.now - d.waited;
  d.pool->queue.put_back(d);
  d.pool->shared.waiting[core_.index].count.fetch_add(1);
  list_waiting(*d.pool);
}

// It is in the queue of its pool.
void PoolBridge::enqueued(Dispatch& d, ReactorPool& pool, const PoolSettings& settings) {
  SharedPool& shared = pool.shared;
  d.pool = &pool;
  if (d.filter == nullptr) core_.journal.stage(exchange_of(d).slot, Stage::QUEUED, core_.now);
  if (settings.request_timeout.ns > 0) wheel_.arm(d.timer, core_.now + settings.request_timeout);
  shared.waiting[core_.index].count.fetch_add(1);
  list_waiting(pool);
  // Where others wait as well nobody overtakes them: a place that comes free is handed on.
  if (shared.bound.waiting() == pool.queue.waiting()) hand_out(pool);
}

StepResult PoolBridge::refuse(Exchange& ex, Reason reason, QueueFullSetting how) {
  if (use_stale(ex)) {
    complete_fill(core_, ex, ex.entry);
    return StepResult::DELIVER;
  }
  complete_fill(core_, ex, nullptr);
  if (how == QueueFullSetting::RESET) {
    ex.reason = reason;
    ex.verdict = Verdict::NOT_STATIC;
    ex.keep_alive = false;
    ex.unanswered = true;
    return StepResult::DONE;
  }
  leave_body_unread(core_, ex);
  return answer_with(ex, reason, Verdict::NOT_STATIC);
}

void PoolBridge::leave_queue(ReactorPool& pool) { pool.shared.waiting[core_.index].count.fetch_sub(1); }

// The worker that would take a request with this cookie, with a place in it taken; null: none has room now.
PoolLink* PoolBridge::take_place(ReactorPool& pool, const PoolSettings& settings, uint64_t sticky) {
  WorkerWanted wanted;
  wanted.sticky = sticky;
  wanted.policy = policy_of(settings.balance);
  while (true) {
    loads_.clear();
    for (PoolLink* link : pool.links) {
      loads_.push_back(
          {.number = link->worker.number,
           .inside = link->worker.inside.load(std::memory_order_relaxed),
           .capacity = settings.concurrency,
           .takes = !link->retired && !link->broken && link->worker.takes.load(std::memory_order_relaxed) &&
                    link->worker.warm.load() && !link->worker.suspended.load(std::memory_order_relaxed) &&
                    link->worker.overrun.load(std::memory_order_relaxed) == 0 && !link->link.request_room().empty()});
    }
    wanted.after = pool.chosen_last;
    const std::optional<uint32_t> place = choose_worker(loads_, wanted);
    if (!place) return nullptr;
    // Another reactor may have been faster; then `inside` says so in the next round.
    PoolWorker& worker = pool.links[*place]->worker;
    if (!worker.enter(settings.concurrency)) continue;
    if (worker.suspended.load()) {  // since it was looked at: see PoolWorker
      worker.leave();
      continue;
    }
    pool.chosen_last = *place;
    return pool.links[*place];
  }
}

void PoolBridge::hand_out(ReactorPool& pool) {
  const PoolSettings* settings = settings_of(pool);
  if (settings == nullptr) return;  // look_at_waiting() answers them
  if (settings->balance == BalanceSetting::STICKY) return hand_out_sticky(pool, *settings);
  while (!pool.queue.empty()) {
    PoolLink* const link = take_place(pool, *settings, 0);
    if (link == nullptr) return;
    hand_to(pool, *link, *static_cast<Dispatch*>(pool.queue.take()));
  }
}

// Who waits for one certain worker lets others pass, up to a bound; then all keep their places.
void PoolBridge::hand_out_sticky(ReactorPool& pool, const PoolSettings& settings) {
  constexpr size_t PASSED_MAX = 16;
  std::array<Dispatch*, PASSED_MAX> passed;
  size_t count = 0;
  while (count < PASSED_MAX) {
    auto* const d = static_cast<Dispatch*>(pool.queue.take());
    if (d == nullptr) break;
    PoolLink* const link = take_place(pool, settings, d->sticky);
    if (link == nullptr) {
      passed[count++] = d;
      if (d->sticky == 0) break;  // it would take any, and there is none
    } else {
      hand_to(pool, *link, *d);
    }
  }
  while (count > 0) pool.queue.put_back(*passed[--count]);
}

// The request, out of the queue, into that worker. REQUIRES: a place in it is taken for this, its link has room.
void PoolBridge::hand_to(ReactorPool& pool, PoolLink& link, Dispatch& d) {
  leave_queue(pool);
  if (d.filter != nullptr) return hand_filter_to(link, d);
  Exchange& ex = exchange_of(d);
  const PoolSettings* const settings = settings_of(pool);
  const LayerFacts facts = ex.certified ? core_.transport.layer(ex.connection->handle) : LayerFacts{};
  const uint32_t head_bytes = write_request(link.link.request_room(), ex,
                                            {.subject = facts.client_subject, .fingerprint = facts.client_fingerprint},
                                            settings != nullptr && settings->pass_authorization);
  if (head_bytes == 0) {  // more than a chunk holds
    link.worker.leave();
    return d.refresh != nullptr ? release(d) : refuse_later(d, Reason::HEAD_LENGTH);
  }
  // Before the worker can see it: if it dies of this request, the journal says whose it was.
  d.purge_mark = core_.shared.cache.purge_mark();
  d.label_mark = core_.shared.cache.label_mark();
  core_.journal.bytes_in(ex.slot, ex.head_bytes_in + ex.body_bytes_in);
  core_.journal.worker(ex.slot, link.worker.number, core_.now);
  const RequestHead& head = ex.head;
  uint64_t length = 0;
  if (!d.body_whole) length = head.body == BodyKind::LENGTH ? head.content_length : PENSTOCK_LENGTH_UNKNOWN;
  d.serial = core_.journal.serial(ex.slot);
  enter_worker(link, d,
               {.serial = d.serial,
                .head_bytes = head_bytes,
                .length = length,
                .end = d.body_whole,
                .wants_body = head.method != Method::HEAD});
  if (!d.body_whole) body_due_.push_back(dispatches_.handle_of(&d));
}

// What lies in request_room() goes to that worker.
void PoolBridge::enter_worker(PoolLink& link, Dispatch& d, const RequestFrame& frame) {
  d.handle = link.link.begin(frame);
  d.link = &link;
  d.worker = link.worker.number;
  d.waited = core_.now - d.arrived;
  d.inside = true;
  ++d.tries;
  link.inside[d.handle.index] = &d;
  link.worker.busy_ns.store(core_.now.ns, std::memory_order_relaxed);
  activate(link);
}

// A place in a worker of the pool has come free: the next one to have it may wait at another reactor.
void PoolBridge::hand_on(ReactorPool& pool) {
  SharedPool& shared = pool.shared;
  const auto reactors = static_cast<uint32_t>(shared.waiting.size());
  const bool own = !pool.queue.empty();
  if (own && shared.bound.waiting() == pool.queue.waiting()) return hand_out(pool);
  if (own && ++pool.own_turns < OWN_TURNS && core_.now - pool.own_since < OWN_SPAN) return hand_out(pool);
  pool.own_turns = 0;
  pool.own_since = core_.now;
  for (uint32_t i = 1; i < reactors; ++i) {
    const uint32_t other = (core_.index + i) % reactors;
    if (shared.waiting[other].count.load() == 0) continue;
    core_.shared.inboxes[other]->post({.kind = ReactorMessage::Kind::POOL_TURN, .pool = &shared});
    return;
  }
  hand_out(pool);
}

// --- the request's body ---------------------------------------------------------------------

void PoolBridge::carry_bodies() {
  for (size_t i = 0; i < body_due_.size(); ++i) {
    Dispatch* const d = dispatches_.find(body_due_[i]);
    if (d == nullptr || d->exchange == nullptr || !d->inside || d->body_whole) continue;
    Connection& c = *d->exchange->connection;
    offer_continue(*d);
    if (c.input.empty()) {
      (void)take_body(*d->exchange, {});
    } else {
      connection_go_on(core_, c);
    }
  }
  body_due_.clear();
}

// RFC 9110 section 10.1.1: the client is told to send its body once there is somebody who reads it.
void PoolBridge::offer_continue(Dispatch& d) {
  if (!d.owes_continue || d.begun) return;
  Connection& c = *d.exchange->connection;
  if (c.input.empty()) {  // else it did not wait
    Outgoing* const out = room_for(core_, c, CONTINUE_RESPONSE.size(), 0);
    if (out == nullptr) return;  // the answers before it are still on their way: see sent()
    out->copy(CONTINUE_RESPONSE);
  }
  d.owes_continue = false;
}

void PoolBridge::sent(Exchange& ex) {
  const Dispatch& d = *ex.dispatch;
  if (d.owes_continue && d.inside) body_due_.push_back(dispatches_.handle_of(&d));
}

size_t PoolBridge::take_body(Exchange& ex, std::string_view bytes) {
  Dispatch& d = *ex.dispatch;
  Connection& c = *ex.connection;
  if (!d.inside || d.cancelled || d.body_whole) return 0;
  const size_t used = c.body == BodyKind::CHUNKED ? take_chunked(ex, d, bytes) : take_plain(d, c, bytes);
  d.body_sent = d.body_sent || used > 0;
  ex.body_bytes_in += used;
  core_.journal.bytes_in(ex.slot, ex.head_bytes_in + ex.body_bytes_in);
  const bool cramped = !d.body_whole && (used < bytes.size() || !d.upload.empty() || d.end_owed);
  if (cramped) d.link->cramped.push_back(dispatches_.handle_of(&d));
  activate(*d.link);
  // Patience is for a client that has to send, not for one whose bytes wait for the worker.
  c.awaits_body = !d.body_whole && !cramped;
  if (c.awaits_body) set_deadline(core_, c, DeadlineKind::BODY, patience_with(core_, c).body);
  return used;
}

size_t PoolBridge::take_plain(Dispatch& d, Connection& c, std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size() && c.body_left > 0) {
    const auto size = static_cast<size_t>(std::min<uint64_t>(bytes.size() - used, c.body_left));
    const size_t sent = d.link->link.send_body(d.handle, bytes.substr(used, size), size == c.body_left);
    if (sent == 0) break;
    used += sent;
    c.body_left -= sent;
  }
  d.body_whole = c.body_left == 0;
  return used;
}

// What was decoded cannot be given back to the connection: a piece for which the ring has no chunk is kept, one at
// most.
size_t PoolBridge::take_chunked(Exchange& ex, Dispatch& d, std::string_view bytes) {
  Connection& c = *ex.connection;
  ServerLink& link = d.link->link;
  constexpr size_t PIECE_MAX = 16 * 1024;
  size_t used = 0;
  while (true) {
    while (!d.upload.empty()) {
      const size_t sent = link.send_body(d.handle, d.upload, false);
      if (sent == 0) return used;
      d.upload.erase(0, sent);
    }
    const ChunkStep step = c.chunks.next(bytes.substr(used, PIECE_MAX));
    used += step.consumed;
    switch (step.state) {
      case ChunkState::DATA:
        if (c.chunks.body_bytes() > ex.site->body_bytes) return refuse_body(ex, d, Reason::ENTITY_TOO_LARGE, bytes);
        d.upload.assign(step.data);
        break;
      case ChunkState::NEED_MORE:
        if (used == bytes.size()) return used;
        break;
      case ChunkState::DONE:
        (void)link.send_body(d.handle, {}, true);
        d.body_whole = link.body_is_sent(d.handle);
        d.end_owed = !d.body_whole;  // the decoder says DONE again next time
        return used;
      case ChunkState::BAD:
        core_.counters.parse_errors.add();
        return refuse_body(ex, d, c.chunks.error(), bytes);
    }
  }
}

// The body cannot go on. Its worker is told, its client answered at the end of the turn; nothing behind it is read.
size_t PoolBridge::refuse_body(Exchange& ex, Dispatch& d, Reason reason, std::string_view bytes) {
  ex.keep_alive = false;
  ex.lingers = true;
  d.body_whole = true;
  refuse_later(d, reason);
  return bytes.size();
}

// Not now: whoever calls is in the middle of something that the answer may change.
void PoolBridge::refuse_later(Dispatch& d, Reason reason) {
  if (std::exchange(d.refused, true)) return;
  refused_.emplace_back(dispatches_.handle_of(&d), reason);
}

void PoolBridge::answer_refused() {
  for (size_t i = 0; i < refused_.size(); ++i) {
    const auto [handle, reason] = refused_[i];
    Dispatch* const d = dispatches_.find(handle);
    if (d == nullptr) continue;
    if (d->filter != nullptr) {
      fail_filter(*d, reason);
      continue;
    }
    if (d->exchange == nullptr) continue;
    if (d->inside) cancel(*d, PENSTOCK_CANCEL_CLIENT_GONE);
    if (d->begun) {
      cut(*d, reason);
    } else {
      answer(*d, reason);
    }
  }
  refused_.clear();
}

}  // namespace penstock
