// Invariants:
//  - core.spare, if set, is reset and belongs to nobody.
//  - An exchange with entry_pinned holds one pin of its entry; config_pinned one pin of its snapshot.
//  - Between two turns every exchange that lives is parked: its head kept, its entry and config pinned.

#include "src/server/walk.h"

#include "src/server/client_address.h"
#include "src/server/connections.h"
#include "src/server/entry_maker.h"
#include "src/server/leaving.h"
#include "src/server/pools/filtering.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/request_body.h"
#include "src/server/steps/steps.h"

namespace penstock {
namespace {

void recycle(Core& core, Exchange& ex) {
  if (ex.entry_pinned) ex.entry->unpin();
  if (ex.config_pinned) core.unpin_config(*ex.config);
  if (ex.stream >= 0) core.reader.close(ex.stream);
  ex.reset();
  if (core.spare == nullptr) {
    core.spare = &ex;  // the one whose lines are in the processor's cache serves the next request
  } else {
    core.exchanges.give(&ex);
  }
}

Outcome outcome_of(const Core& core, const Exchange& ex, const Connection& c) {
  const ReasonInfo& info = reason_info(ex.reason);
  Outcome outcome;
  if (c.secure) outcome.flags = RECORD_SECURE;
  if (c.client_rules != 0 && core.transport.is_open(c.handle)) {
    const LayerFacts facts = core.transport.layer(c.handle);
    outcome.client_subject = facts.client_subject;
    outcome.client_fingerprint = facts.client_fingerprint;
  }
  outcome.status = ex.app_status != 0 ? ex.app_status : ex.status();
  outcome.sub_status = info.sub_status;
  outcome.reason = static_cast<uint16_t>(ex.reason);
  outcome.verdict = static_cast<uint16_t>(ex.verdict);
  outcome.bytes_in = ex.head_bytes_in + ex.body_bytes_in;
  outcome.head_bytes_out = ex.head_bytes_out;
  outcome.body_bytes_out = ex.body_bytes_out;
  outcome.version = ex.http_1_0 ? HttpVersion::HTTP_10 : ex.http_2 ? HttpVersion::HTTP_2 : HttpVersion::HTTP_11;
  outcome.coding = static_cast<BodyCoding>(ex.coding);
  outcome.flags = static_cast<uint16_t>((ex.keep_alive ? RECORD_KEEP_ALIVE : 0) | (ex.secure ? RECORD_SECURE : 0) |
                                        (ex.unanswered ? RECORD_RESET : 0));
  if (const Site* site = answering_site(ex); site != nullptr) outcome.site = site->name;
  if (ex.filtered) outcome.filter = ex.filters->log;
  outcome.expendable = ex.reason == Reason::LOG_FULL;
  return outcome;
}

void walk(Core& core, Exchange& ex, Step step) {
  StepResult result = StepResult::NEXT;
  while (true) {
    const bool finds = step <= Step::ROUTE;  // who answers
    switch (step) {
      case Step::LOOKUP:
        result = lookup_step(core, ex);
        break;
      case Step::ROUTE:
        result = route_step(core, ex);
        if (ex.route != nullptr && !ex.route->filters.empty()) result = core.pools->filter_request(ex, result);
        break;
      case Step::FILL:
        result = fill_step(core, ex);
        break;
      case Step::DELIVER:
        result = deliver_step(core, ex);
        break;
      case Step::DISPATCH:
        result = core.pools->dispatch(ex);
        break;
    }
    switch (result) {
      case StepResult::NEXT:
        step = static_cast<Step>(static_cast<uint8_t>(step) + 1);
        break;
      case StepResult::FILL:
        step = Step::FILL;
        break;
      case StepResult::DISPATCH:
        step = Step::DISPATCH;
        break;
      case StepResult::DELIVER:
        step = Step::DELIVER;
        break;
      case StepResult::PARKED:
        keep_head(core, ex);
        return;
      case StepResult::DONE:
        finish_exchange(core, ex);
        return;
    }
    if (ex.head.body == BodyKind::CHUNKED && finds && waits_for_body(ex, step)) [[unlikely]] {
      keep_head(core, ex);
      hold_answer(core, ex, step);
      return;
    }
  }
}

// What every exchange begins with, whether its head is good or not.
Exchange& open_exchange(Core& core, Connection& c, std::string_view raw) {
  Exchange& ex = *core.spare;
  core.spare = nullptr;
  ex.connection = &c;
  ex.config = core.config;
  ex.slot = c.slot;
  c.slot = {};
  ex.raw_head = raw;
  ex.head_bytes_in = static_cast<uint32_t>(raw.size());
  ex.http_1_0 = ex.head.version_minor == 0;
  ex.http_2 = c.stream;
  ex.secure = c.secure;
  c.exchange = &ex;
  c.state = ConnectionState::SERVING;
  const RequestHead& head = ex.head;
  core.journal.head(ex.slot, raw,
                    {.method = head.method_text,
                     .target = head.target,
                     .host = head.authority,
                     .user_agent = head.get(Field::USER_AGENT),
                     .referer = head.get(Field::REFERER)});
  ++c.requests;
  return ex;
}

}  // namespace

void begin_exchange(Core& core, Connection& c, std::string_view raw) {
  Exchange& ex = open_exchange(core, c, raw);
  const uint32_t requests_max = core.config->settings.limits_requests_per_connection;
  ex.keep_alive =
      ex.head.keep_alive && !c.stream && !is_leaving(core, c) && (requests_max == 0 || c.requests < requests_max);
  if (!core.config->settings.server_trusted_proxies.empty()) find_client(core, ex);
  core.journal.stage(ex.slot, Stage::LOOKUP, core.now);
  if (core.journal.log_is_full()) {
    core.counters.journal_refusals.add();
    ex.reason = Reason::LOG_FULL;
    ex.verdict = Verdict::BAD_REQUEST;
    if (ex.head.body != BodyKind::NONE) leave_body_unread(core, ex);
    return walk(core, ex, Step::DELIVER);
  }
  walk(core, ex, Step::LOOKUP);
}

void refuse_head(Core& core, Connection& c, std::string_view raw, Reason reason) {
  if (core.spare == nullptr) core.spare = core.exchanges.take();
  if (reason == Reason::TIMER_HEADER_WAIT) core.spare->head = RequestHead{};  // nothing was parsed
  core.spare->head.body = BodyKind::NONE;
  Exchange& ex = open_exchange(core, c, raw);
  ex.refused = true;
  ex.keep_alive = false;
  ex.lingers = true;
  ex.reason = reason;
  ex.verdict = Verdict::BAD_REQUEST;
  core.counters.parse_errors.add();
  walk(core, ex, Step::DELIVER);
}

void resume_exchange(Core& core, Exchange& ex, Step step) { walk(core, ex, step); }

const Site* answering_site(const Exchange& ex) {
  if (ex.site != nullptr || ex.entry == nullptr) return ex.site;
  return site_of(*ex.entry, ex.config->routes);
}

void keep_head(Core& core, Exchange& ex) {
  if (ex.connection != nullptr) remember_site(*ex.connection, ex);
  if (!ex.config_pinned) {
    core.pin_config(*ex.config);
    ex.config_pinned = true;
  }
  if (ex.entry != nullptr && !ex.entry_pinned) {
    ex.entry->pin();
    ex.entry_pinned = true;
  }
  if (ex.composed) core.journal.moment(ex.slot, Moment::FIRST_BYTE_OUT, core.moment());
  ex.bytes_waited = ex.waits_send ? ex.head_bytes_out + ex.body_bytes_out : 0;
  if (ex.bytes_waited > 0) core.journal.moment_again(ex.slot, Moment::LAST_BYTE_OUT, core.moment());
  if (ex.composed || ex.refused || !ex.kept_head.empty()) return;  // kept, or nobody reads it any more
  ASSERT(!ex.raw_head.empty());
  ex.cold_used = true;
  // Views into the receive buffer are dead once the turn is over.
  ex.kept_head.assign(ex.raw_head);
  ex.head.move_to(ex.raw_head, ex.kept_head);
}

void finish_exchange(Core& core, Exchange& ex) {
  Connection& c = *ex.connection;
  const Outcome outcome = outcome_of(core, ex, c);
  const MonoTime moment = core.moment();
  if (!ex.unanswered) core.journal.moment(ex.slot, Moment::FIRST_BYTE_OUT, moment);
  // Unless the last of it was handed over before, and what it waited for since was that it is taken.
  if (ex.bytes_waited != ex.head_bytes_out + ex.body_bytes_out) {
    core.journal.moment_again(ex.slot, Moment::LAST_BYTE_OUT, moment);
  }
  if (!ex.filtered || !core.pools->filter_record(ex, outcome, moment)) core.journal.end(ex.slot, moment, outcome);
  core.counters.bytes_out.add(ex.head_bytes_out + ex.body_bytes_out);
  connection_answered(core, c, ex);
  recycle(core, ex);
}

void abandon_exchange(Core& core, Exchange& ex, Reason why) {
  Connection& c = *ex.connection;
  c.exchange = nullptr;
  Outcome outcome = outcome_of(core, ex, c);
  outcome.flags |= RECORD_ABORTED;
  if (!ex.composed) {
    const ReasonInfo& info = reason_info(why);
    outcome.status = info.status;
    outcome.sub_status = info.sub_status;
  }
  outcome.reason = static_cast<uint16_t>(why);
  if (!ex.filtered || !core.pools->filter_record(ex, outcome, core.now)) core.journal.end(ex.slot, core.now, outcome);
  ex.slot = {};
  ex.connection = nullptr;
  if (c.sending != nullptr && ex.stream >= 0) {
    c.sending->keep_open(core.reader, ex.stream);  // the transport may still read from it
    ex.stream = -1;
  }
  if (ex.filtered) core.pools->leave_filters(ex);
  if (ex.dispatch != nullptr) core.pools->leave(ex);
  if (leave_fill(core, ex)) recycle(core, ex);
}

void leave_body_unread(Core& core, Exchange& ex) {
  const RequestHead& head = ex.head;
  const uint64_t drain_max = core.config->settings.limits_drain_bytes;
  // Who waits for 100 Continue gets the final answer instead and may or may not send the body
  // (RFC 9110 section 10.1.1): the framing is open, so the connection ends behind the answer.
  if (head.expect_continue || (head.body == BodyKind::LENGTH && head.content_length > drain_max)) {
    ex.keep_alive = false;
    ex.lingers = true;
  }
}

void free_exchange(Core& core, Exchange& ex) { recycle(core, ex); }

}  // namespace penstock
