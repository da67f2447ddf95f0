// Applications and the response cache: one call for all who want the same, answers that are kept, entries that answer
// although their lifetime is over, and what an unsafe method takes away.
//
// Who leads a fill completes it, whatever happens: at the head if the answer is none to be shared, at its end if it is
// kept, and in detach(), leave() and end_refresh() in all other cases.
#include "src/base/bytes.h"
#include "src/base/hash.h"
#include "src/http/host.h"
#include "src/server/client_address.h"
#include "src/server/connections.h"
#include "src/server/entry_maker.h"
#include "src/server/pools/answer_copy.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/pools/refresh.h"
#include "src/server/steps/steps.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr Duration PASS_TIME = seconds(10);

bool is_safe(Method method) {  // RFC 9110 section 9.2.1
  return method == Method::GET || method == Method::HEAD || method == Method::OPTIONS || method == Method::TRACE;
}

// RFC 5861 section 4.
bool is_an_error(uint16_t status) { return status == 500 || (status >= 502 && status <= 504); }

// Of those who may wait for one answer.
uint64_t crowd_hash(const Exchange& ex) { return hash_word(ex.key_hash + crowd_of(ex.head)); }

// The names in the key of a variant: see vary_target().
std::vector<std::string> names_in(std::string_view target) {
  std::vector<std::string> names;
  for (size_t at = target.find('\n'); at != std::string_view::npos; at = target.find('\n', at + 1)) {
    names.emplace_back(target.substr(at + 1, target.find(':', at) - at - 1));
  }
  return names;
}

}  // namespace

// --- before a call --------------------------------------------------------------------------

// What the hot path did not look up, or must look up again. NEXT: there is nothing.
StepResult PoolBridge::look_again(Exchange& ex) {
  Verdict why{};
  const bool again = ex.rejoined && !ex.alone;
  if ((ex.looked_up && !again) || ex.executed > 0 || is_for_one(ex) || !may_be_shared(ex.head, why)) {
    return StepResult::NEXT;
  }
  ex.looked_up = true;
  ex.cache_target.clear();
  CacheTable& cache = core_.shared.cache;
  ex.key_hash = hash_key(ex.cache_key(), cache.hash_seed());
  ex.entry =
      cache.lookup(core_.index, ex.cache_key(), ex.key_hash, ex.config->serving_generation, core_.now, ex.verdict);
  if (ex.entry == nullptr && !lookup_kept(core_, ex)) {
    core_.counters.cache_misses.add();
    return StepResult::NEXT;
  }
  core_.counters.cache_hits.add();
  ex.reason = Reason::OK;
  return StepResult::DELIVER;
}

FillKey PoolBridge::fill_key(const Exchange& ex) const {
  const CacheTable& cache = core_.shared.cache;
  return {.key = ex.cache_key(),
          .hash = crowd_hash(ex),
          .generation = ex.config->serving_generation,
          .purge_mark = cache.purge_mark() + cache.label_mark()};
}

// Requests for one URL at the same time are one call, if its answer turns out to be one that can be shared. NEXT: this
// one calls.
StepResult PoolBridge::join_others(Exchange& ex) {
  const RequestHead& head = ex.head;
  if (ex.alone || is_for_one(ex) || ex.executed > 0 || !head.plain || head.method != Method::GET || head.has_range ||
      pass_.has(crowd_hash(ex), core_.now)) {
    return StepResult::NEXT;
  }
  const FillTable::Joined joined =
      core_.shared.fills.join(fill_key(ex), {.reactor = core_.index, .handle = core_.exchanges.handle_of(&ex)});
  if (joined.role == FillRole::FULL) return StepResult::NEXT;
  ex.fill = joined.fill;
  if (joined.role == FillRole::WAIT) {
    core_.counters.cache_fill_waits.add();
    ex.waits_fill = true;
    return StepResult::PARKED;
  }
  ex.leads_fill = true;
  // Who led before us may have come to its end between our miss and here.
  Verdict why = Verdict::MISS_FIRST;
  ex.entry = core_.shared.cache.lookup(core_.index, ex.cache_key(), ex.key_hash, ex.config->serving_generation,
                                       core_.now, why);
  if (ex.entry == nullptr) return StepResult::NEXT;
  complete_fill(core_, ex, ex.entry);
  return answer_with(ex, Reason::OK, why);
}

bool PoolBridge::answers(const Exchange& ex, const Entry& entry) const {
  const std::string_view target = entry.key().target;
  return target == ex.cache_key().target || target == vary_target(ex.head.target, names_in(target), ex.head);
}

// --- an answer ------------------------------------------------------------------------------

// What becomes of an answer whose head has come; begins the copy that is kept.
void PoolBridge::begin_copy(Dispatch& d, Exchange& ex, const LinkEvent& event, uint64_t length) {
  const Settings& settings = ex.config->settings;
  if (ex.executed > 0) return;
  if (!is_safe(ex.head.method)) return invalidate(ex, event);
  if (ex.certified) {  // whatever the answer says of itself: it knows whom it is for
    ex.verdict = Verdict::AUTHORIZATION;
    return;
  }
  if (is_for_one(ex)) {
    ex.verdict = Verdict::FILTERED;
    return;
  }
  if (!settings.cache_enable) {
    ex.verdict = Verdict::DISABLED;
    return;
  }
  const Route& route = *ex.route;
  AnswerPolicy policy = answer_policy(
      ex.head, {.status = event.status, .fields = event.fields, .ttl_ms = event.ttl_ms, .policy = event.policy},
      {.stale_while_revalidate = route.stale_while_revalidate,
       .stale_if_error = route.stale_if_error,
       .vary = route.cache_vary},
      core_.wall.unix_seconds());
  if (!policy.keep) {
    ex.verdict = policy.why;
    // An entry is not to outlive what the application says of it now.
    if (ex.outlived && !is_an_error(event.status)) {
      (void)core_.shared.cache.invalidate(ex.cache_key(), ex.key_hash);
    }
    return;
  }
  const std::string vary = vary_line(event.policy, event.fields);
  const std::string own = route.header_lines(ex.secure) + vary;
  d.copy = std::make_unique<AnswerCopy>(std::move(policy), event.status, event.fields, own, length,
                                        settings.cache_entry_max);
  if (d.refresh == nullptr) ex.verdict = Verdict::FILL_FAILED;  // unless keep_copy() says better in the end
}

// RFC 9111 section 4.4: what was kept of the URL, and of those that the answer names, is true no more.
void PoolBridge::invalidate(Exchange& ex, const LinkEvent& event) {
  if (event.status >= 400) return;
  CacheTable& cache = core_.shared.cache;
  uint64_t dropped = 0;
  const auto drop = [&](std::string_view target) {
    for (const bool secure : {false, true}) {  // what is true no more is so under both schemes
      const KeyView key{.secure = secure, .host = ex.head.authority, .target = target};
      dropped += cache.purge_label(url_label(hash_key(key, cache.hash_seed())));
    }
  };
  drop(ex.head.target);
  for (const LinkField& field : event.fields) {
    if (!iequals(field.name, "Location") && !iequals(field.name, "Content-Location")) continue;
    if (field.value.starts_with('/')) drop(field.value.substr(0, field.value.find('#')));  // of our own origin
  }
  ex.verdict = dropped > 0 ? Verdict::INVALIDATED : Verdict::UNCACHEABLE_METHOD;
}

// None of this answer's copy will be kept, or none any more.
void PoolBridge::give_up_copy(Dispatch& d, Exchange& ex) {
  d.copy.reset();
  if (ex.leads_fill) pass_.note(crowd_hash(ex), core_.now + PASS_TIME);
  complete_fill(core_, ex, nullptr);
}

// The answer is whole: the next request for it does not reach the worker.
void PoolBridge::keep_copy(Dispatch& d) {
  Exchange& ex = exchange_of(d);
  CacheTable& cache = core_.shared.cache;
  std::string canonical = origin_name(ex.head.authority, ex.cache_key().secure);
  canonical += ex.path;
  const KeyView own{.secure = ex.secure, .host = ex.head.authority, .target = ex.head.target};
  AnswerCopy::Made made{.key = own,
                        .hash = hash_key(own, cache.hash_seed()),
                        .seed = cache.hash_seed(),
                        .target = {},
                        .generation = ex.config->serving_generation,
                        .purge_mark = d.purge_mark,
                        .label_mark = d.label_mark,
                        .site = ex.site != nullptr ? entry_site(*ex.site) : 0,
                        .canonical = canonical,
                        .now = core_.now,
                        .unix_seconds = core_.wall.unix_seconds(),
                        .server = ex.config->server_header};
  // A URL that varied once goes on to: its answers need not all name the same fields.
  std::vector<std::string> names = d.copy->policy().vary;
  MonoTime until;
  const Entry* const before = cache.lookup_kept(own, made.hash, made.generation, core_.now);
  if (before != nullptr && before->is_marker()) {
    std::vector<std::string> all = names_of_marker(*before);
    all.insert(all.end(), names.begin(), names.end());
    std::ranges::sort(all);
    const auto repeated = std::ranges::unique(all);
    all.erase(repeated.begin(), repeated.end());
    if (all.size() <= PENSTOCK_POLICY_VARY_MAX) {
      names = std::move(all);
      until = before->stale_until();
    }
  }
  if (!names.empty()) made.target = vary_target(own.target, names, ex.head);
  Entry* const entry = d.copy->finish(made, core_.shared.bodies, core_.shared.ledger);
  if (entry != nullptr && !names.empty()) {
    if (Entry* const marker = d.copy->make_marker(made, names, until, core_.shared.ledger)) {
      (void)cache.insert(marker, core_.now);  // if not: the variant is not found, and goes when its time has come
      marker->unpin();
    }
  }
  d.copy.reset();
  if (entry == nullptr) {
    ex.verdict = Verdict::CACHE_FULL;
    return complete_fill(core_, ex, nullptr);
  }
  core_.counters.cache_fills.add();
  const InsertOutcome outcome = cache.insert(entry, core_.now);
  if (outcome == InsertOutcome::INSERTED) ex.verdict = Verdict::FILL_LED;
  if (outcome == InsertOutcome::TOO_LARGE) ex.verdict = Verdict::TOO_LARGE;
  if (outcome == InsertOutcome::STALE) ex.verdict = Verdict::PURGED;
  if (outcome == InsertOutcome::DISABLED) ex.verdict = Verdict::DISABLED;
  pass_.forget(crowd_hash(ex));
  complete_fill(core_, ex, entry);
  entry->unpin();
}

// --- no longer fresh ------------------------------------------------------------------------

// No answer can be had: an entry within its grace stands in for it. False: there is none.
bool PoolBridge::use_stale(Exchange& ex) {
  Verdict why{};
  if (!ex.looked_up || is_for_one(ex) || ex.executed > 0 || !may_be_shared(ex.head, why)) return false;
  const Entry* const kept =
      core_.shared.cache.lookup_kept(ex.cache_key(), ex.key_hash, ex.config->serving_generation, core_.now);
  if (kept == nullptr || kept->is_marker() || core_.now >= kept->error_until()) return false;
  kept->pin();
  ex.entry = kept;
  ex.entry_pinned = true;
  ex.reason = Reason::OK;
  ex.verdict = Verdict::HIT_STALE_ERROR;
  core_.counters.cache_stale_error.add();
  return true;
}

// A worker's answer is an error, and an entry stands in for it: the rest of it is not wanted.
bool PoolBridge::replace_error(Dispatch& d, const LinkEvent& event) {
  if (!is_an_error(event.status) || !use_stale(*d.exchange)) return false;
  give_up(d, Reason::OK, event.end);
  return true;
}

// `from` is answered with an entry whose lifetime is over: one call fetches a new one, whoever asks meanwhile.
void PoolBridge::refresh(const Exchange& from) {
  const FillTable::Joined joined = core_.shared.fills.lead(fill_key(from));
  if (joined.role != FillRole::LEAD) return;
  auto refresh = std::make_unique<Refresh>();
  Exchange& ex = refresh->exchange;
  Connection& c = refresh->connection;
  c.facts = from.connection->facts;
  c.facts.client = client_of(from);
  c.peer = from.connection->peer;
  ex.connection = &c;
  ex.config = from.config;
  core_.pin_config(*ex.config);
  ex.fill = joined.fill;
  ex.leads_fill = ex.looked_up = ex.cold_used = ex.outlived = true;
  const std::string_view raw = from.kept_head.empty() ? from.raw_head : std::string_view(from.kept_head);
  refresh->head_text = raw;
  ex.head = from.head;
  ex.head.move_to(raw, refresh->head_text);
  ex.head.method = Method::GET;
  ex.head.method_text = method_name(Method::GET);
  ex.cache_target = from.cache_target;
  ex.key_hash = from.key_hash;
  ex.verdict = Verdict::REFRESHED;
  ex.slot =
      core_.journal.begin(core_.now, c.facts, 2, static_cast<uint32_t>(ex.config->generation), refresh->head_text);
  if (ex.slot.valid()) {
    core_.journal.head(ex.slot, refresh->head_text,
                       {.method = ex.head.method_text, .target = ex.head.target, .host = ex.head.authority});
    core_.counters.cache_refreshes.add();
    if (queue_refresh(refresh)) return;
  }
  close_refresh(*refresh, Reason::SERVER_BUSY);
}

// Into the queue of its pool; false: it stays the caller's, there is no call.
bool PoolBridge::queue_refresh(std::unique_ptr<Refresh>& refresh) {
  Exchange& ex = refresh->exchange;
  if (route_step(core_, ex) != StepResult::DISPATCH) return false;
  const Snapshot& config = *ex.config;
  SharedPool* const shared =
      ex.route->number < config.pool_of_route.size() ? config.pool_of_route[ex.route->number] : nullptr;
  if (shared == nullptr || shared->service.load(std::memory_order_relaxed) != PoolService::SERVING) return false;
  const PoolSettings& settings = *config.pools[shared->number];
  ReactorPool& pool = pool_of(*shared);
  Dispatch* const d = dispatches_.take();
  if (d == nullptr) return false;
  d->client = queue_key_of(ex);
  d->arrived = core_.now;
  if (!pool.queue.put(*d, settings.queue_max)) {
    dispatches_.give(d);
    return false;
  }
  d->refresh = std::move(refresh);
  d->body_whole = true;
  enqueued(*d, pool, settings);
  return true;
}

// What a worker says to a refresh. Its bytes go nowhere but into the copy.
void PoolBridge::take_refreshed(Dispatch& d, const LinkEvent& event) {
  Exchange& ex = d.refresh->exchange;
  switch (event.kind) {
    case LinkEvent::Kind::HEAD: {
      ex.app_status = event.status;
      begin_copy(d, ex, event, event.end ? event.body.size() : event.length);
      break;
    }
    case LinkEvent::Kind::DATA:
      break;
    default:
      d.failed = true;
  }
  if (d.failed || (d.copy != nullptr && !d.copy->add(event.body))) d.copy.reset();
  if (d.copy == nullptr) complete_fill(core_, ex, nullptr);
  if (!event.body.empty() && d.link->link.is_open(d.handle)) grant(d, event.body.size());
}

void PoolBridge::close_refresh(Refresh& refresh, Reason reason) {
  Exchange& ex = refresh.exchange;
  complete_fill(core_, ex, nullptr);
  if (ex.slot.valid()) {
    const ReasonInfo& info = reason_info(reason);
    Outcome outcome;
    outcome.status = ex.app_status != 0 ? ex.app_status : info.status;
    outcome.sub_status = info.sub_status;
    outcome.reason = static_cast<uint16_t>(reason);
    outcome.verdict = static_cast<uint16_t>(Verdict::REFRESHED);
    outcome.bytes_in = 0;
    if (ex.site != nullptr) outcome.site = ex.site->name;
    core_.journal.end(ex.slot, core_.now, outcome);
  }
  core_.unpin_config(*ex.config);
}

}  // namespace penstock
