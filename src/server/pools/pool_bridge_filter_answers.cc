// Filters and answers: heads that wait for a verdict, of files and of applications; and records that do.
#include "src/server/connections.h"
#include "src/server/pools/answer_copy.h"
#include "src/server/pools/answer_head.h"
#include "src/server/pools/filtering.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/steps/steps.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr size_t HEAD_MOST = Outgoing::BYTES_MAX - 4096;  // of a filtered one: a page of ours still fits behind it

}  // namespace

// --- heads of our own -----------------------------------------------------------------------

HeadFate PoolBridge::filter_head(Exchange& ex, std::string_view head, std::string& changed) {
  Filtering& f = *ex.filters;
  if (!f.answering) {
    f.answering = true;
    read_answer_head(head, f.status, f.fields);
    f.left = f.pools.size();
    const StepResult asked = ask_about_answer(ex);
    if (asked == StepResult::PARKED) return HeadFate::WAITS;
    if (asked == StepResult::DELIVER) return HeadFate::REFUSED;
  }
  if (!f.changed) return HeadFate::AS_IT_IS;
  changed = write_filtered_head(head, f.status, f.fields, core_.wall.unix_seconds(), ex.config->server_header);
  if (changed.empty() || changed.size() > HEAD_MOST) {
    (void)refuse_filtered(ex, f.pools.front().pool->name, Reason::FILTER_INVALID);
    return HeadFate::REFUSED;
  }
  ex.app_status = f.status;
  return HeadFate::CHANGED;
}

// The next filter that wants to see the answer, from the last on. NEXT: none is left; DELIVER: one cannot be asked, and
// nothing was sent.
StepResult PoolBridge::ask_about_answer(Exchange& ex) {
  Filtering& f = *ex.filters;
  for (; !f.over && f.left > 0; --f.left) {
    const FilterPool& one = f.pools[f.left - 1];
    if (!one.wants_response) continue;
    std::unique_ptr<FilterCall> call = make_call(ex, PENSTOCK_FILTER_RESPONSE, one.pool);
    const Reason why = call != nullptr ? call_filter(*one.pool, call, &ex) : Reason::FILTER_INVALID;
    if (why == Reason::NONE) return StepResult::PARKED;
    if (ex.dispatch == nullptr) return refuse_filtered(ex, one.pool->name, why);
    fail_held(ex, one.pool->name, why);
    return StepResult::DELIVER;
  }
  return StepResult::NEXT;
}

void PoolBridge::take_answer_verdict(Exchange& ex, const std::string& pool, const LinkEvent& event) {
  Filtering& f = *ex.filters;
  if (ex.dispatch != nullptr && ex.dispatch->inside) core_.journal.worker(ex.slot, ex.dispatch->worker, core_.now);
  add_note(f.log, event.verdict->log);
  const bool renames = event.status != 0 && event.status != f.status;
  const bool keeps_body = !renames || status_is_bodiless(event.status) == status_is_bodiless(f.status);
  if (!keeps_body || !may_be_written(*event.verdict)) {
    if (ex.dispatch != nullptr) return fail_held(ex, pool, Reason::FILTER_INVALID);
    (void)refuse_filtered(ex, pool, Reason::FILTER_INVALID);
    return go_on(ex);
  }
  if (renames) f.status = event.status;
  f.changed = f.changed || renames || !event.verdict->edits.empty();
  edit_fields(f.fields, event.verdict->edits);
  --f.left;
  const StepResult asked = ask_about_answer(ex);
  if (ex.dispatch == nullptr) {
    if (asked != StepResult::PARKED) go_on(ex);
  } else if (asked == StepResult::NEXT) {
    release_answer(ex);
  }
}

// --- an application's -----------------------------------------------------------------------

// True: it waits for its filters, or for the end of the turn because they cannot be asked.
bool PoolBridge::hold_answer_head(Exchange& ex, const LinkEvent& event) {
  Filtering& f = *ex.filters;
  if (f.released) return false;
  f.answering = true;
  f.status = event.status;
  f.fields.clear();
  for (const LinkField& field : event.fields) {
    if (!is_front_end_field(field.name)) f.fields.push_back({std::string(field.name), std::string(field.value)});
  }
  if (!f.wants_response()) return false;
  f.left = f.pools.size();
  f.held = std::make_unique<HeldAnswer>(event);
  return ask_about_answer(ex) != StepResult::NEXT;
}

PoolBridge::ShownHead PoolBridge::shown_head(const Exchange& ex, const LinkEvent& event, std::vector<LinkField>& room) {
  const Filtering* const f = ex.filters.get();
  if (f == nullptr || !f->released || !f->changed) return {.status = event.status, .fields = event.fields};
  for (const AnswerField& field : f->fields) room.push_back({field.name, field.value});
  return {.status = f->status, .fields = room, .changed = true};
}

// More of an answer that is held.
void PoolBridge::hold_piece(Dispatch& d, const LinkEvent& event) {
  if (!d.refused && !d.exchange->filters->held->add(event)) give_up(d, Reason::WORKER_HEAD_INVALID, event.end);
}

// It goes on as if it came now.
void PoolBridge::release_answer(Exchange& ex) {
  Dispatch& d = *ex.dispatch;
  Filtering& f = *ex.filters;
  const std::unique_ptr<HeldAnswer> held = std::move(f.held);
  f.released = true;
  take_head(d, held->head());
  for (const HeldAnswer::Piece& piece : held->pieces()) {
    if (piece.kind == LinkEvent::Kind::DATA) {
      take_data(d, piece.text);
      continue;
    }
    LinkEvent event;
    event.kind = piece.kind;
    event.body = piece.text;
    event.offset = piece.offset;
    event.length = piece.length;
    take_part(d, event);
  }
  if (d.whole && d.copy != nullptr) keep_copy(d);
  if (d.begun && !ex.waits_send && (d.whole || d.failed || d.pending_bytes() > 0 || !d.parts.empty())) go_on(ex);
}

// A filter has failed; the application's answer is dropped at the end of the turn.
void PoolBridge::fail_held(Exchange& ex, std::string_view pool, Reason reason) {
  Filtering& f = *ex.filters;
  note_failure(f.log, pool, reason);
  f.forget_answer();
  f.over = true;
  refuse_later(*ex.dispatch, reason);
}

// Another answer comes in place of the one that filters were asked about.
void PoolBridge::drop_held(Exchange& ex) {
  leave_filters(ex);
  ex.filters->forget_answer();
}

// --- records --------------------------------------------------------------------------------

bool PoolBridge::filter_record(Exchange& ex, const Outcome& outcome, MonoTime moment) {
  const Filtering& f = *ex.filters;
  std::vector<SharedPool*> pools;
  for (const FilterPool& one : f.pools) {
    if (one.wants_log) pools.push_back(one.pool);
  }
  // Slots are for requests: a filter that takes its time for records does not use them up.
  if (pools.empty() || core_.journal.open_count() > core_.journal.slot_count() / 2) return false;
  std::unique_ptr<FilterCall> call = make_call(ex, PENSTOCK_FILTER_LOG, nullptr);
  if (call == nullptr) return false;
  call->status = outcome.status;
  call->length = outcome.body_bytes_out;
  call->offset = static_cast<uint64_t>(std::max<int64_t>((moment - core_.journal.begun(ex.slot)).us(), 0));
  call->record = std::make_unique<FilterRecord>();
  FilterRecord& record = *call->record;
  record.slot = ex.slot;
  record.moment = moment;
  record.keep(outcome);
  record.pools = std::move(pools);
  ask_about_record(std::move(call));
  return true;
}

void PoolBridge::ask_about_record(std::unique_ptr<FilterCall> call) {
  FilterRecord& record = *call->record;
  while (record.next < record.pools.size()) {
    SharedPool& pool = *record.pools[record.next++];
    const Reason why = call_filter(pool, call, nullptr);
    if (why == Reason::NONE) return;
    note_failure(record.log, pool.name, why);
  }
  core_.journal.end(record.slot, record.moment, record.made());
}

void PoolBridge::take_record_verdict(Dispatch& d, const LinkEvent& event) {
  std::unique_ptr<FilterCall> call = std::move(d.filter);
  release(d);
  add_note(call->record->log, event.verdict->log);
  ask_about_record(std::move(call));
}

void PoolBridge::fail_record(std::unique_ptr<FilterCall> call, std::string_view pool, Reason reason) {
  note_failure(call->record->log, pool, reason);
  ask_about_record(std::move(call));
}

// No turn follows: what waits for a filter is closed as it is.
void PoolBridge::end_records() {
  dispatches_.for_each([this](Dispatch& d) {
    if (d.filter == nullptr || d.filter->record == nullptr) return;
    FilterRecord& record = *d.filter->record;
    core_.journal.end(record.slot, record.moment, record.made());
    d.filter->record = nullptr;
  });
}

bool PoolBridge::owes_records() {
  bool owes = false;
  dispatches_.for_each([&owes](Dispatch& d) { owes = owes || (d.filter != nullptr && d.filter->record != nullptr); });
  return owes;
}

}  // namespace penstock
