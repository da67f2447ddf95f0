// Filters and requests: who is asked, what a verdict changes, and how a filter that fails ends its request.
//
// Invariants: Filtering::call is not null exactly while a filter is asked about its exchange, and the exchange is
// parked for that, or its application's answer held. A Dispatch with `filter` and no exchange is of a record, or waits
// for its worker to let go of a request that has ended.
#include "src/http/request_parser.h"
#include "src/server/connections.h"
#include "src/server/pools/filtering.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/pools/request_writer.h"
#include "src/server/request_body.h"
#include "src/server/steps/steps.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

constexpr size_t MESSAGE_MOST = 1024 * 1024;  // more than any chunk
constexpr size_t WHAT_MOST = 200;

Step step_of(StepResult found) {
  switch (found) {
    case StepResult::NEXT:
    case StepResult::FILL:
      return Step::FILL;
    case StepResult::DISPATCH:
      return Step::DISPATCH;
    default:
      return Step::DELIVER;
  }
}

// What becomes of a filter's request, by what becomes of an application's.
Reason filter_reason(Reason reason) {
  switch (reason) {
    case Reason::WORKER_EXITED:
      return Reason::FILTER_EXITED;
    case Reason::WORKER_TIMEOUT:
      return Reason::FILTER_TIMEOUT;
    case Reason::WORKER_BROKE:
      return Reason::FILTER_BROKE;
    case Reason::WORKER_ABORTED:
      return Reason::FILTER_ABORTED;
    case Reason::QUEUE_FULL:
      return Reason::FILTER_QUEUE_FULL;
    case Reason::APP_OFFLINE:
    case Reason::APP_FAILED:
      return Reason::FILTER_OFFLINE;
    case Reason::APP_POOL_TIMER:
      return Reason::FILTER_TIMER;
    case Reason::WORKER_HEAD_INVALID:
      return Reason::FILTER_INVALID;
    default:
      return reason;
  }
}

}  // namespace

StepResult PoolBridge::filter_request(Exchange& ex, StepResult found) {
  if (found == StepResult::PARKED) return found;  // a purge, which is ours
  if (ex.filters == nullptr) {
    ex.filters = std::make_unique<Filtering>();
    ex.filtered = ex.cold_used = true;
  }
  Filtering& f = *ex.filters;
  f.found = found;
  if (f.over) return found;
  const auto& all = ex.config->filters_of_route;
  if (ex.route->number >= all.size()) return refuse_filtered(ex, ex.route->filters.front(), Reason::FILTER_OFFLINE);
  for (SharedPool* const pool : all[ex.route->number]) {
    const auto same = [pool](const FilterPool& one) { return one.pool == pool; };
    if (std::ranges::none_of(f.pools, same)) f.pools.push_back({.pool = pool});
  }
  return ask_about_request(ex);
}

bool PoolBridge::is_for_one(const Exchange& ex) { return ex.certified || (ex.filtered && ex.filters->for_one); }

StepResult PoolBridge::ask_about_request(Exchange& ex) {
  Filtering& f = *ex.filters;
  if (f.asked == f.pools.size()) return f.found;
  SharedPool& pool = *f.pools[f.asked].pool;
  std::unique_ptr<FilterCall> call = make_call(ex, PENSTOCK_FILTER_REQUEST, &pool);
  const Reason why = call != nullptr ? call_filter(pool, call, &ex) : Reason::HEAD_LENGTH;
  return why == Reason::NONE ? StepResult::PARKED : refuse_filtered(ex, pool.name, why);
}

// The message for it. nullptr: too much.
std::unique_ptr<FilterCall> PoolBridge::make_call(const Exchange& ex, penstock_to_worker kind, const SharedPool* pool) {
  if (ex.route == nullptr || ex.site == nullptr) return nullptr;
  const Connection& c = *ex.connection;
  const auto& pools = ex.config->pools;
  const PoolSettings* const settings = pool != nullptr && pool->number < pools.size() ? pools[pool->number] : nullptr;
  const bool knows = ex.certified && core_.transport.is_open(c.handle);
  const LayerFacts facts = knows ? core_.transport.layer(c.handle) : LayerFacts{};
  auto call = std::make_unique<FilterCall>();
  call->kind = kind;
  call->client = queue_key_of(ex);
  call->what.append(ex.head.method_text).append(" ").append(ex.head.target.substr(0, WHAT_MOST));
  uint32_t bytes = 0;
  for (size_t room = 8 * 1024; bytes == 0 && room <= MESSAGE_MOST; room *= 4) {
    call->message.resize(room);
    bytes = write_request(call->message, ex, {.subject = facts.client_subject, .fingerprint = facts.client_fingerprint},
                          settings != nullptr && settings->pass_authorization);
  }
  if (bytes == 0) return nullptr;
  call->head_bytes = (bytes + 7) / 8 * 8;  // what follows is aligned
  call->message.resize(bytes);
  call->message.resize(call->head_bytes, '\0');
  if (kind == PENSTOCK_FILTER_REQUEST) return call;
  call->status = ex.filters->status;
  return append_answer_block(call->message, ex.filters->fields) ? std::move(call) : nullptr;
}

// Into the queue of its pool, or why not. `ex`: null of a record.
Reason PoolBridge::call_filter(SharedPool& shared, std::unique_ptr<FilterCall>& call, Exchange* ex) {
  const auto& pools = (ex != nullptr ? *ex->config : *core_.config).pools;
  const PoolSettings* const settings = shared.number < pools.size() ? pools[shared.number] : nullptr;
  if (settings == nullptr || shared.service.load(std::memory_order_relaxed) != PoolService::SERVING) {
    return Reason::FILTER_OFFLINE;
  }
  Dispatch* const d = dispatches_.take();
  if (d == nullptr) return Reason::SERVER_BUSY;
  ReactorPool& pool = pool_of(shared);
  d->client = call->client;
  d->arrived = core_.now;
  if (!pool.queue.put(*d, settings->queue_max)) {
    dispatches_.give(d);
    return Reason::FILTER_QUEUE_FULL;
  }
  d->exchange = ex;
  d->filter = std::move(call);
  d->body_whole = true;
  if (ex != nullptr) ex->filters->call = d;
  enqueued(*d, pool, *settings);
  return Reason::NONE;
}

JournalSlot PoolBridge::slot_of_filter(const Dispatch& d) {
  return d.filter->record != nullptr ? d.filter->record->slot : d.exchange->slot;
}

// As hand_to().
void PoolBridge::hand_filter_to(PoolLink& link, Dispatch& d) {
  const FilterCall& call = *d.filter;
  const std::span<char> room = link.link.request_room();
  const bool fits = call.message.size() <= room.size();
  if (link.link.version() < 3 || !fits) {
    link.worker.leave();
    return refuse_later(d, fits ? Reason::FILTER_UNUSABLE : Reason::FILTER_INVALID);
  }
  std::memcpy(room.data(), call.message.data(), call.message.size());
  const JournalSlot slot = slot_of_filter(d);
  core_.journal.filter(slot, link.worker.number, core_.now);
  d.serial = core_.journal.serial(slot);
  enter_worker(link, d,
               {.kind = call.kind,
                .status = call.status,
                .offset = call.offset,
                .serial = d.serial,
                .head_bytes = call.head_bytes,
                .body_bytes = static_cast<uint32_t>(call.message.size()) - call.head_bytes,
                .length = call.length});
}

// What a filter's worker says. True: it answers the request itself, as an application would from here on.
bool PoolBridge::take_filtered(PoolLink& link, Dispatch& d, const LinkEvent& event) {
  if (event.kind == LinkEvent::Kind::HEAD && d.exchange != nullptr && !d.refused) {
    take_own_answer(d);
    return true;
  }
  if (event.end) end_inside(link, d);
  const bool waits = (d.exchange != nullptr || d.filter->record != nullptr) && !d.refused;
  if (!waits) {
    if (!d.inside && !d.refused) release(d);
    return false;
  }
  if (event.kind == LinkEvent::Kind::VERDICT) {
    take_verdict(d, event);
  } else {
    fail_filter(d, event.kind == LinkEvent::Kind::ABORTED ? Reason::FILTER_ABORTED : Reason::FILTER_INVALID);
  }
  return false;
}

void PoolBridge::take_own_answer(Dispatch& d) {
  Exchange& ex = *d.exchange;
  d.filter.reset();
  d.of_filter = true;
  d.body_sent = true;  // there is no second try: it was none of an application
  ex.filters->call = nullptr;
  ex.filters->for_one = true;
  ex.dispatch = &d;
  ex.location.clear();
  ex.verdict = Verdict::FILTERED;
  if (ex.head.body != BodyKind::NONE && !ex.body_done && ex.executed == 0) leave_body_unread(core_, ex);
}

void PoolBridge::take_verdict(Dispatch& d, const LinkEvent& event) {
  if (d.filter->record != nullptr) return take_record_verdict(d, event);
  Exchange& ex = *d.exchange;
  Filtering& f = *ex.filters;
  const bool of_request = d.filter->kind == PENSTOCK_FILTER_REQUEST;
  const std::string& name = d.pool->shared.name;
  f.call = nullptr;
  d.exchange = nullptr;
  release(d);
  if (!of_request) return take_answer_verdict(ex, name, event);
  FilterPool& asked = f.pools[f.asked];
  asked.wants_response = event.verdict->wants_response;
  asked.wants_log = event.verdict->wants_log;
  add_note(f.log, event.verdict->log);
  if (!change_request(ex, *event.verdict)) {
    return go_on_filtered(ex, refuse_filtered(ex, name, Reason::FILTER_INVALID));
  }
  ++f.asked;
  StepResult found = f.found;
  if (!event.verdict->target.empty()) {
    ex.reason = Reason::NONE;
    ex.verdict = Verdict::MISS_FIRST;
    ex.route_status = 0;
    ex.location.clear();
    ex.route = nullptr;
    found = route_step(core_, ex);
    f.found = found;
    // Its route may have others. Refused before it came to one: no client would have sent such a target.
    found = ex.route != nullptr ? filter_request(ex, found) : refuse_filtered(ex, name, Reason::FILTER_INVALID);
  } else {
    found = ask_about_request(ex);
  }
  go_on_filtered(ex, found);
}

// The request is what the filter makes of it, if that is one: it is parsed like any that comes.
bool PoolBridge::change_request(Exchange& ex, const LinkVerdict& verdict) {
  if (verdict.target.empty() && verdict.edits.empty()) return true;
  if (!may_be_written(verdict) || (!verdict.target.empty() && !verdict.target.starts_with('/'))) return false;
  std::string text = write_filtered_request(ex.head, verdict.target, verdict.edits);
  text.swap(ex.kept_head);  // views into what is `text` now are good until this returns
  RequestHead head;
  RequestParser parser;
  const bool whole = parser.parse(ex.kept_head, ex.config->head_limits, head) == ParseState::COMPLETE &&
                     parser.consumed() == ex.kept_head.size();
  const RequestHead& before = ex.head;
  if (!whole || head.method_text != before.method_text || head.body != before.body ||
      head.content_length != before.content_length || head.authority != before.authority) {
    text.swap(ex.kept_head);
    return false;
  }
  ex.head = head;
  ex.raw_head = ex.kept_head;
  ex.instead.clear();
  ex.filters->for_one = ex.filters->for_one || !verdict.edits.empty();
  return true;
}

void PoolBridge::go_on_filtered(Exchange& ex, StepResult found) {
  if (found == StepResult::PARKED) return;
  Connection& c = *ex.connection;
  const Step step = step_of(found);
  const bool has_chunks = ex.head.body == BodyKind::CHUNKED && !ex.body_done && ex.executed == 0;
  if (has_chunks && waits_for_body(ex, step)) {
    hold_answer(core_, ex, step);
    return connection_go_on(core_, c);
  }
  resume_exchange(core_, ex, step);
  if (c.exchange == nullptr) connection_go_on(core_, c);
}

// The answer is that reason, whatever it would have been. REQUIRES: nothing of it was sent.
StepResult PoolBridge::refuse_filtered(Exchange& ex, std::string_view pool, Reason reason) {
  Filtering& f = *ex.filters;
  note_failure(f.log, pool, reason);
  f.forget_answer();
  f.over = true;
  if (std::exchange(ex.entry_pinned, false)) ex.entry->unpin();
  ex.entry = nullptr;
  ex.body = nullptr;
  if (ex.stream >= 0) core_.reader.close(std::exchange(ex.stream, -1));
  ex.page = false;
  ex.app_status = 0;
  ex.coding = Coding::IDENTITY;
  ex.location.clear();
  ex.text.clear();
  complete_fill(core_, ex, nullptr);
  if (ex.head.body != BodyKind::NONE && !ex.body_done && ex.executed == 0) leave_body_unread(core_, ex);
  return answer_with(ex, reason, Verdict::NOT_STATIC);
}

// A filter comes to no verdict: that ends its request, or leaves it out of the record.
void PoolBridge::fail_filter(Dispatch& d, Reason why) {
  const Reason reason = filter_reason(why);
  const std::string& name = d.pool->shared.name;
  if (d.filter->record != nullptr) {
    std::unique_ptr<FilterCall> call = std::make_unique<FilterCall>(std::move(*d.filter));
    d.filter->record = nullptr;
    if (!d.inside) release(d);
    return fail_record(std::move(call), name, reason);
  }
  Exchange& ex = *d.exchange;
  const bool of_request = d.filter->kind == PENSTOCK_FILTER_REQUEST;
  ex.filters->call = nullptr;
  d.exchange = nullptr;
  if (!d.inside) release(d);
  if (ex.dispatch != nullptr) return fail_held(ex, name, reason);
  const StepResult found = refuse_filtered(ex, name, reason);
  if (of_request) return go_on_filtered(ex, found);
  go_on(ex);
}

// Its worker is no more. The bystanders of a request that kills one are asked about once more.
void PoolBridge::lose_filter(Dispatch& d, Reason reason, bool harmful) {
  if (d.refused) return;
  if (d.exchange == nullptr && d.filter->record == nullptr) return release(d);
  const LostRequest lost{
      .idempotent = true, .body_kept = true, .answer_begun = false, .harmful = harmful, .tries = d.tries};
  if (answer_lost(lost) != LostAnswer::AGAIN) return fail_filter(d, reason);
  core_.journal.filter(slot_of_filter(d), 0, core_.now);
  put_back(d);
}

// The exchange is over, or its answer another one: what a filter would say is not wanted.
void PoolBridge::leave_filters(Exchange& ex) {
  Dispatch* const d = std::exchange(ex.filters->call, nullptr);
  if (d != nullptr) let_go(*d);
}

}  // namespace penstock
