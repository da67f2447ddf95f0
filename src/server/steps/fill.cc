// Fill: a file is read once for everyone who wants it (cache/fill.h), and becomes an Entry whether or not
// the cache keeps it; so Deliver knows one form of answer only.
//
// Invariants: an exchange with `loading` is named by a load of core.loader until load_done(); one with
// `waits_fill` by the FillTable, or by a message in the inbox, until fill_done().

#include "src/http/accept_encoding.h"
#include "src/server/connections.h"
#include "src/server/entry_maker.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/steps/steps.h"
#include "src/server/walk.h"

#include <algorithm>
#include <array>

namespace penstock {
namespace {

uint64_t load_token(Core& core, const Exchange& ex) {
  const Handle handle = core.exchanges.handle_of(&ex);
  return (static_cast<uint64_t>(handle.generation) << 32) | handle.index;
}

// The key under which the entry lives: of the request, or of its error page.
KeyView key_of(const Exchange& ex) {
  return {
      .secure = ex.secure, .host = ex.head.authority, .target = ex.page ? std::string_view(ex.path) : ex.head.target};
}

bool wants_json(const RequestHead& head) {
  const std::string_view accept = head.get(Field::ACCEPT);
  return accept.find("application/json") != std::string_view::npos &&
         accept.find("text/html") == std::string_view::npos;
}

// No page could be had: the error is told in our own words.
void give_up_page(Exchange& ex) {
  ex.page = false;
  ex.entry = nullptr;
}

StepResult start_load(Core& core, Exchange& ex) {
  const Snapshot::Serving& serving = ex.config->serving[ex.route->number];
  LoadRequest request;
  request.root = serving.root;
  request.path = RouteTable::path_below_root(*ex.route, ex.path);
  request.url_path = ex.path;
  request.policy = wants_json(ex.head) ? &serving.json : &serving.html;
  request.admit = ex.admitted;
  ex.purge_mark = core.shared.cache.purge_mark();
  if (serving.root.fd < 0) return answer_with(ex, Reason::CONFIG_INVALID, Verdict::ERROR_STATUS);
  if (request.path.size() > Loader::PATH_BYTES_MAX)
    return answer_with(ex, Reason::FILE_NAME_LENGTH, Verdict::ERROR_STATUS);
  if (!core.loader.start(request, load_token(core, ex), core.now)) {
    return answer_with(ex, Reason::FILL_LIMIT, Verdict::FILL_BUSY);
  }
  ex.loading = true;
  return StepResult::PARKED;
}

// Whether the cache may be asked and wants the answer; counts this request towards its admission.
void ask_admission(Core& core, Exchange& ex) {
  if (!core.config->settings.cache_enable) {
    ex.verdict = Verdict::DISABLED;
    return;
  }
  const Admission::Answer answer = core.shared.admission.miss(ex.key_hash, core.now);
  ex.admitted = answer.admitted;
  if (ex.verdict != Verdict::MISS_FIRST || answer.admitted) return;
  if (answer.seen > 1) ex.verdict = Verdict::MISS_NOT_YET_FREQUENT;
  if (core.config->settings.cache_admit == AdmitSetting::NEVER) ex.verdict = Verdict::ADMIT_NEVER;
}

void take_file(Core& core, Exchange& ex, LoadResult& result) {
  const EntrySource source{.config = ex.config,
                           .site = ex.site,
                           .route = ex.route,
                           .key = key_of(ex),
                           .hash = ex.key_hash,
                           .canonical_path = ex.path,
                           .purge_mark = ex.purge_mark,
                           .now = core.now,
                           .unix_seconds = core.wall.unix_seconds()};
  Entry* entry = make_entry(source, result, core.shared.ledger);
  if (entry == nullptr) {
    ex.reason = Reason::SERVER_BUSY;
    ex.verdict = Verdict::CACHE_FULL;
    return;
  }
  ex.entry = entry;
  ex.entry_pinned = true;
  if (!ex.page) ex.reason = Reason::OK;
  if (result.kind == LoadKind::LISTING) {
    ex.verdict = Verdict::LISTING;
    return;
  }
  if (!ex.admitted) return;  // the verdict says why already
  if (!result.cacheable) {
    ex.verdict = result.verdict;
    return;
  }
  core.counters.cache_fills.add();
  switch (core.shared.cache.insert(entry, core.now)) {
    case InsertOutcome::INSERTED:
      ex.verdict = Verdict::FILL_LED;
      break;
    case InsertOutcome::TOO_LARGE:
      ex.verdict = Verdict::TOO_LARGE;
      break;
    case InsertOutcome::STALE:
    case InsertOutcome::GONE:
      ex.verdict = Verdict::FILE_CHANGING;
      break;
    case InsertOutcome::DISABLED:
      ex.verdict = Verdict::DISABLED;
      break;
  }
}

void redirect_to_directory(Exchange& ex) {
  std::string escaped(ex.path.size() * 3, '\0');
  ex.location = escape_path(ex.path, escaped);
  ex.location += '/';
  if (ex.head.has_query) ex.location.append("?").append(ex.head.query);
  ex.verdict = Verdict::REDIRECT;
}

// Of the file and its precompressed siblings the one that the client likes best.
void take_stream(Exchange& ex, LoadResult& result) {
  const std::span<LoadedVariant> variants{result.variants.data(), result.variant_count};
  uint8_t available = 0;
  for (const LoadedVariant& variant : variants) available |= coding_bit(variant.coding);
  const CodingChoice choice = choose_coding(ex.head, available);
  ex.stream_varies = variants.size() > 1 || may_compress(*ex.config, *ex.route, result.content_type);
  if (!choice.acceptable) {
    ex.reason = Reason::CODING_NOT_ACCEPTABLE;
    ex.verdict = Verdict::CONDITION_UNUSUAL;
    return;
  }
  const auto chosen = std::ranges::find(variants, choice.coding, &LoadedVariant::coding);
  ex.coding = choice.coding;
  ex.stream = std::exchange(chosen->fd, -1);
  ex.stream_info = chosen->info;
  ex.stream_modified_s = WallTime{variants.front().info.mtime_ns}.unix_seconds();
  ex.content_type = result.content_type;
  ex.verdict = result.verdict;
}

void take_result(Core& core, Exchange& ex, LoadResult& result) {
  const Reason reason = load_kind_reason(result.kind);
  if (ex.page && result.kind != LoadKind::FILE) {
    give_up_page(ex);
    return;
  }
  if (!ex.page) ex.reason = reason;
  switch (result.kind) {
    case LoadKind::FILE:
    case LoadKind::LISTING:
      take_file(core, ex, result);
      if (ex.page && ex.entry == nullptr) give_up_page(ex);
      break;
    case LoadKind::STREAM:
      take_stream(ex, result);
      break;
    case LoadKind::REDIRECT_SLASH:
      redirect_to_directory(ex);
      break;
    case LoadKind::IO_ERROR:
      core.counters.file_errors.add();
      [[fallthrough]];
    case LoadKind::BUSY:
    case LoadKind::CHANGED:
      ex.verdict = Verdict::FILL_FAILED;
      core.counters.cache_fill_failures.add();
      break;
    default:
      ex.verdict = Verdict::ERROR_STATUS;
      core.counters.cache_fill_failures.add();
  }
}

// Of refresh_file(); of an exchange whose connection has ended the record is closed already.
void end_refresh(Core& core, Exchange& ex) {
  complete_fill(core, ex, nullptr);
  if (ex.slot.valid()) {
    const ReasonInfo& info = reason_info(ex.reason);
    Outcome outcome;
    outcome.status = info.status;
    outcome.sub_status = info.sub_status;
    outcome.reason = static_cast<uint16_t>(ex.reason);
    outcome.verdict = static_cast<uint16_t>(Verdict::REFRESHED);
    if (ex.site != nullptr) outcome.site = ex.site->name;
    core.journal.end(ex.slot, core.now, outcome);
  }
  free_exchange(core, ex);
}

void go_on(Core& core, Exchange& ex, Step step) {
  Connection& c = *ex.connection;
  resume_exchange(core, ex, step);
  if (c.exchange == nullptr) connection_go_on(core, c);
}

}  // namespace

void complete_fill(Core& core, Exchange& ex, const Entry* entry) {
  if (!ex.leads_fill) return;
  ex.leads_fill = false;
  std::vector<FillWaiter> waiters;
  core.shared.fills.complete(ex.fill, waiters);
  for (const FillWaiter& waiter : waiters) {
    if (entry != nullptr) entry->pin();
    core.shared.inboxes[waiter.reactor]->post(
        {.kind = ReactorMessage::Kind::FILL_DONE, .exchange = waiter.handle, .entry = entry});
  }
}

StepResult fill_step(Core& core, Exchange& ex) {
  core.journal.stage(ex.slot, Stage::FILL, core.now);
  ex.cold_used = true;
  if (ex.page) {  // of an error: its own path, route and key
    ex.refused_by = ex.route;
    ex.route = &RouteTable::find_route(*ex.site, ex.path);
    ex.looked_up = false;
    if (ex.route->handler != HandlerSetting::STATIC) {
      give_up_page(ex);
      return StepResult::DELIVER;
    }
  }
  const KeyView key = key_of(ex);
  ex.key_hash = hash_key(key, core.shared.cache.hash_seed());
  if (!ex.looked_up) {
    ex.looked_up = true;
    Verdict why = Verdict::MISS_FIRST;
    const Entry* entry =
        core.shared.cache.lookup(core.index, key, ex.key_hash, ex.config->serving_generation, core.now, why);
    if (entry != nullptr) {
      core.counters.cache_hits.add();
      ex.entry = entry;
      if (!ex.page) {
        ex.verdict = why;
        ex.reason = Reason::OK;
      }
      return StepResult::DELIVER;
    }
    if (!ex.page) {
      ex.verdict = why;
      if (lookup_kept(core, ex)) {
        core.counters.cache_hits.add();
        ex.reason = Reason::OK;
        return StepResult::DELIVER;
      }
    }
    core.counters.cache_misses.add();
  }
  ask_admission(core, ex);
  if (ex.alone) return start_load(core, ex);
  const FillKey fill{.key = key,
                     .hash = ex.key_hash,
                     .generation = ex.config->serving_generation,
                     .purge_mark = core.shared.cache.purge_mark()};
  const FillTable::Joined joined =
      core.shared.fills.join(fill, {.reactor = core.index, .handle = core.exchanges.handle_of(&ex)});
  switch (joined.role) {
    case FillRole::LEAD: {
      ex.fill = joined.fill;
      ex.leads_fill = true;
      // Who led before us may have ended between our look and our joining.
      Verdict why = Verdict::MISS_FIRST;
      ex.entry = core.shared.cache.lookup(core.index, key, ex.key_hash, ex.config->serving_generation, core.now, why);
      if (ex.entry != nullptr) {
        complete_fill(core, ex, ex.entry);
        if (!ex.page) {
          ex.verdict = Verdict::FILL_WAITED;
          ex.reason = Reason::OK;
        }
        return StepResult::DELIVER;
      }
      const StepResult result = start_load(core, ex);
      if (!ex.loading) complete_fill(core, ex, ex.entry);
      return result;
    }
    case FillRole::WAIT:
      core.counters.cache_fill_waits.add();
      ex.fill = joined.fill;
      ex.waits_fill = true;
      return StepResult::PARKED;
    case FillRole::FULL:
      ex.verdict = Verdict::FILL_BUSY;
      ex.admitted = false;
      return start_load(core, ex);
  }
  return StepResult::DELIVER;
}

void refresh_file(Core& core, const Exchange& from) {
  Exchange* const taken = core.draining ? nullptr : core.exchanges.take();
  if (taken == nullptr) return;
  Exchange& ex = *taken;
  ex.config = from.config;
  core.pin_config(*ex.config);
  ex.config_pinned = ex.cold_used = ex.looked_up = ex.admitted = true;
  ex.secure = from.secure;
  ex.key_hash = from.key_hash;
  const std::string_view raw = from.kept_head.empty() ? from.raw_head : std::string_view(from.kept_head);
  ex.kept_head = raw;
  ex.head = from.head;
  ex.head.move_to(raw, ex.kept_head);
  ex.head.method = Method::GET;
  ex.head.method_text = method_name(Method::GET);
  const FillTable::Joined joined = core.shared.fills.lead({.key = key_of(ex),
                                                           .hash = ex.key_hash,
                                                           .generation = ex.config->serving_generation,
                                                           .purge_mark = core.shared.cache.purge_mark()});
  ex.leads_fill = joined.role == FillRole::LEAD;
  ex.fill = joined.fill;
  if (ex.leads_fill) {
    ex.slot =
        core.journal.begin(core.now, from.connection->facts, 2, static_cast<uint32_t>(ex.config->generation), raw);
  }
  if (ex.slot.valid()) {
    core.journal.head(ex.slot, raw,
                      {.method = ex.head.method_text, .target = ex.head.target, .host = ex.head.authority});
  }
  if (ex.slot.valid() && route_step(core, ex) == StepResult::NEXT && start_load(core, ex) == StepResult::PARKED) {
    core.counters.cache_refreshes.add();
    return;  // load_done() frees it
  }
  if (ex.slot.valid()) ex.reason = Reason::SERVER_BUSY;
  end_refresh(core, ex);
}

void load_done(Core& core, Exchange& ex, LoadResult& result) {
  ASSERT(ex.loading);
  ex.loading = false;
  core.counters.files_opened.add();
  if (ex.dispatch != nullptr) return core.pools->file_loaded(ex, result);
  take_result(core, ex, result);
  // A listing depends on what its client accepts: whoever waited makes one of his own.
  complete_fill(core, ex, result.kind == LoadKind::LISTING ? nullptr : ex.entry);
  result.discard(core.reader);  // an entry holds pins of its own
  if (ex.connection == nullptr) {
    end_refresh(core, ex);
  } else {
    go_on(core, ex, Step::DELIVER);
  }
}

void fill_done(Core& core, Exchange& ex, const Entry* entry) {
  ASSERT(ex.waits_fill);
  ex.waits_fill = false;
  ex.entry = entry;
  ex.entry_pinned = entry != nullptr;
  if (ex.connection == nullptr) {
    free_exchange(core, ex);
    return;
  }
  // We may have joined after the leader had read the file, and the file may have changed before that.
  const bool stale = entry != nullptr && entry->validity().cell != 0 && !core.shared.validity.fresh(entry->validity());
  if (stale) {
    entry->unpin();
    ex.entry = nullptr;
    ex.entry_pinned = false;
  }
  // What an application answered depends on more than the URL: it may be another's.
  if (ex.entry != nullptr && ex.route->handler == HandlerSetting::POOL && !core.pools->answers(ex, *ex.entry)) {
    entry->unpin();
    ex.entry = nullptr;
    ex.entry_pinned = false;
    if (!std::exchange(ex.rejoined, true)) return go_on(core, ex, Step::DISPATCH);
  }
  if (ex.entry == nullptr) {
    ex.alone = true;  // the leader's answer was none that can be shared: find out for yourself
    go_on(core, ex, ex.route->handler == HandlerSetting::POOL ? Step::DISPATCH : Step::FILL);
    return;
  }
  ex.verdict = ex.entry->expires() <= core.now ? Verdict::HIT_STALE_ERROR : Verdict::FILL_WAITED;
  if (!ex.page) ex.reason = Reason::OK;
  go_on(core, ex, Step::DELIVER);
}

bool leave_fill(Core& core, Exchange& ex) {
  if (ex.loading) return false;
  if (!ex.waits_fill) return true;
  const bool left = core.shared.fills.leave(ex.fill, {.reactor = core.index, .handle = core.exchanges.handle_of(&ex)});
  if (left) ex.waits_fill = false;
  return left;  // else a message is under way and must find the exchange
}

}  // namespace penstock
