// Invariants, under mutex_:
// - An entry with cold.in_table is in index_ once and in one queue of eviction_ once; the table holds one pin of
//   it, its charge is in the ledger's cached column, and so is that of each body with table_refs_ > 0.
// - What left the index is in retired_ (entries) or garbage_ (buckets, purge logs) until no reactor can
//   see it; an entry's pin of the table is given back then. Its bytes are transient from the moment it left.
// - Every entry of the table is free of concern by each purge up to its purge_checked_; purges that any
//   entry of the table has not been checked against are in the log (number > base).
// Without it, lookups see: an index that always finds what stays in it (index.cc), immutable entries, and
// purge_number_, published after the log that explains it.
#include "cache/table.h"

#include "src/base/assert.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr uint32_t RECLAIM_PER_INSERT = 256;
constexpr uint32_t EVICT_PER_SLICE = 256;
constexpr uint32_t HIT_SAMPLE = 32;         // one hit in so many is noted, on average
constexpr uint32_t EXACT_PER_PERIOD = 256;  // but of a slow reactor's hits every one
constexpr Duration SAMPLE_PERIOD = milliseconds(100);
constexpr uint64_t INDEX_SLACK = 256;  // what one insertion may add to the index
constexpr uint64_t GHOST_BYTES_TYPICAL = 2048;

uint64_t ghosts_for(uint64_t bytes_max) {
  return std::clamp<uint64_t>(bytes_max / GHOST_BYTES_TYPICAL, 1 << 10, 1 << 23);
}

void count_one(std::atomic<uint64_t>& counter) {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

CacheTable::CacheTable(const CacheConfig& config, MemoryLedger& ledger, const ValidityTable& validity)
    : validity_(validity),
      purge_log_(std::make_unique<PurgeLog>().release()),
      enabled_(config.limits.bytes_max != 0),
      hash_seed_(config.hash_seed),
      epochs_(config.reactors),
      ledger_(ledger),
      limits_(config.limits),
      eviction_(ghosts_for(config.limits.bytes_max)) {
  for (uint32_t i = 0; i < config.reactors; ++i) {
    reactors_.push_back(std::make_unique<Reactor>(config.hash_seed + i));
  }
  eviction_.set_capacity(limits_.bytes_max);
  charge_index();
}

CacheTable::~CacheTable() {
  {
    const std::lock_guard lock(mutex_);
    for (uint32_t i = 0; i < index_.buckets(); ++i) {
      index_.for_each_in(i, [&](Entry* entry) { remove(entry); });
    }
    for (const Garbage& garbage : garbage_) {
      free_garbage(garbage);
    }
  }
  while (Entry* entry = retired_.head) {
    retired_.head = entry->cold_->evict_next;
    entry->unpin();
  }
  free_garbage({0, nullptr, purge_log_.load(std::memory_order_relaxed)});
  ledger_.release_cached(index_charged_);
}

// ---- Reactor side

const Entry* CacheTable::lookup(uint32_t reactor, const KeyView& key, uint64_t hash, uint64_t generation, MonoTime now,
                                Verdict& why) {
  Reactor& own = *reactors_[reactor];
  const Entry* entry = index_.find(key, hash);
  if (entry == nullptr) [[unlikely]] {
    why = enabled_.load(std::memory_order_relaxed) ? Verdict::MISS_FIRST : Verdict::DISABLED;
    count_one(own.lookups[static_cast<size_t>(why)]);
    return nullptr;
  }
  why = judge(*entry, generation, now);
  count_one(own.lookups[static_cast<size_t>(why)]);
  if (why != Verdict::HIT) [[unlikely]]
    return nullptr;
  count_hit(entry->freq_);
  if (entry->used_.load(std::memory_order_relaxed) == 0) entry->used_.store(1, std::memory_order_relaxed);
  if (--own.until_sample == 0) [[unlikely]]
    sample(own, *entry, now);
  return entry;
}

const Entry* CacheTable::lookup_kept(const KeyView& key, uint64_t hash, uint64_t generation, MonoTime now) const {
  Entry* const entry = index_.find(key, hash);
  if (entry == nullptr || judge(*entry, generation, now) != Verdict::EXPIRED || kept_until(*entry) <= now) {
    return nullptr;
  }
  count_hit(entry->freq_);
  if (entry->used_.load(std::memory_order_relaxed) == 0) entry->used_.store(1, std::memory_order_relaxed);
  return entry;
}

Verdict CacheTable::judge(const Entry& entry, uint64_t generation, MonoTime now) const {
  if (purge_number_.load(std::memory_order_acquire) != entry.purge_checked_.load(std::memory_order_acquire) &&
      purged(entry)) {
    return Verdict::PURGED;
  }
  if (!validity_.fresh(entry.validity())) return Verdict::STALE_FILE;
  if (entry.generation_ != generation) return Verdict::STALE_CONFIG;
  if (entry.mortal_.load(std::memory_order_acquire) && entry.expires() <= now) return Verdict::EXPIRED;
  return Verdict::HIT;
}

bool CacheTable::purged(const Entry& entry) const {
  const PurgeLog* log = purge_log_.load(std::memory_order_acquire);
  const uint64_t mark = entry.purge_checked_.load(std::memory_order_relaxed);
  if (log->concerns(entry.canonical(), mark)) return true;
  if (const PurgeRecord* soft = log->first(PurgeMode::SOFT, entry.canonical(), mark); soft != nullptr) {
    entry.soften(soft->ordered, soft->number);
  }
  // Release: who finds it checked finds it softened.
  entry.purge_checked_.store(log->number, std::memory_order_release);
  return false;
}

// The gap to the next sample is drawn, so that no pattern of requests can hide from it.
void CacheTable::sample(Reactor& reactor, const Entry& entry, MonoTime now) {
  entry.cold_->hits_sampled.fetch_add(reactor.sample_weight, std::memory_order_relaxed);
  reactor.hot.note(entry.hash_, reactor.sample_weight);
  if (now >= reactor.period_end) {
    reactor.period_end = now + SAMPLE_PERIOD;
    reactor.exact_left = EXACT_PER_PERIOD;
  }
  if (reactor.exact_left > 0) {
    --reactor.exact_left;
    reactor.until_sample = reactor.sample_weight = 1;
    return;
  }
  reactor.until_sample = 1 + reactor.prng.below(2 * HIT_SAMPLE - 1);
  reactor.sample_weight = HIT_SAMPLE;
}

// ---- Writers

InsertOutcome CacheTable::insert(Entry* entry, MonoTime now) {
  InsertOutcome outcome;
  {
    const std::lock_guard lock(mutex_);
    ASSERT(!entry->cold_->in_table);
    outcome = admit(*entry, now);
    if (outcome == InsertOutcome::INSERTED) {
      Entry* old = index_.find(entry->key(), entry->hash_);
      if (old != nullptr && old->generation_ > entry->generation_) {
        outcome = InsertOutcome::STALE;  // a fill under an older configuration came late
      } else if (old != nullptr) {
        exchange(old, entry);
        ++counters_.replaced;
      } else if (make_room(entry->charge_with_bodies() + INDEX_SLACK, UINT32_MAX)) {
        take_in(entry);
        index_.insert(entry);
        eviction_.insert(entry);
        ++counters_.inserted;
      } else {
        outcome = InsertOutcome::TOO_LARGE;
      }
    }
    if (outcome == InsertOutcome::INSERTED) hold_group(entry);
    if (outcome != InsertOutcome::INSERTED) ++counters_.refused;
    finish_writing();
  }
  reclaim(RECLAIM_PER_INSERT);
  return outcome;
}

InsertOutcome CacheTable::replace(const Entry* old, Entry* entry, MonoTime now) {
  InsertOutcome outcome = InsertOutcome::GONE;
  {
    const std::lock_guard lock(mutex_);
    ASSERT(!entry->cold_->in_table && old->has_key(entry->key()));
    if (old->cold_->in_table) outcome = admit(*entry, now);
    if (outcome == InsertOutcome::INSERTED) {
      exchange(const_cast<Entry*>(old), entry);
      ++counters_.replaced;
    } else {
      ++counters_.refused;
    }
    finish_writing();
  }
  reclaim(RECLAIM_PER_INSERT);
  return outcome;
}

InsertOutcome CacheTable::admit(const Entry& entry, MonoTime now) {
  if (limits_.bytes_max == 0) return InsertOutcome::DISABLED;
  const uint64_t bytes = entry.charge_with_bodies();
  if (bytes > limits_.entry_bytes_max || bytes + index_charged_ + INDEX_SLACK > limits_.bytes_max) {
    return InsertOutcome::TOO_LARGE;
  }
  const Verdict verdict = judge(entry, entry.generation_, now);
  const bool marks = entry.is_marker() && verdict == Verdict::EXPIRED && now < kept_until(entry);
  if (verdict != Verdict::HIT && !marks) return InsertOutcome::STALE;
  for (const EntryLabel& at : entry.labels()) {
    if (label_purges_.purged_since(at.label, entry.cold_->label_mark)) return InsertOutcome::STALE;
  }
  generation_seen_ = std::max(generation_seen_, entry.generation_);
  return InsertOutcome::INSERTED;
}

// No more variants of one URL than its group may have.
void CacheTable::hold_group(const Entry* entry) {
  const uint32_t most = entry->cold_->group_max;
  if (most == 0) return;
  const uint64_t group = entry->labels()[0].label;
  while (labels_.count(group) > most + 1) {  // and the marker
    Entry* const victim = labels_.unwanted_variant(group, entry);
    if (victim == nullptr) return;
    remove(victim);
    ++counters_.evicted;
  }
}

// Evicts until `bytes` more fit; false where that cannot be had.
bool CacheTable::make_room(uint64_t bytes, uint32_t evictions_max) {
  while (ledger_.cached() + bytes > limits_.bytes_max) {
    if (evictions_max-- == 0) return false;
    Entry* victim = eviction_.evict();
    if (victim == nullptr) return false;
    index_.remove(victim);
    put_out(victim);
    retire(victim);
    ++counters_.evicted;
  }
  return true;
}

// Into the cached column, with the bodies that no other entry of the table brought in before.
void CacheTable::take_in(Entry* entry) {
  EntryCold& cold = *entry->cold_;
  entry->pin();
  cold.in_table = true;
  cold.evict_bytes = entry->charge_with_bodies();
  labels_.link(entry);
  ledger_.transient_to_cached(cold.charge);
  for (uint32_t i = 0; i < entry->variant_count_; ++i) {
    const Body& body = *entry->variants()[i].body;
    if (body.table_refs_++ == 0) ledger_.transient_to_cached(body.charge());
  }
}

void CacheTable::put_out(Entry* entry) {
  EntryCold& cold = *entry->cold_;
  ASSERT(cold.in_table);
  count_fallen(*entry);
  cold.in_table = false;
  labels_.unlink(entry);
  ledger_.cached_to_transient(cold.charge);
  for (uint32_t i = 0; i < entry->variant_count_; ++i) {
    const Body& body = *entry->variants()[i].body;
    if (--body.table_refs_ == 0) ledger_.cached_to_transient(body.charge());
  }
}

void CacheTable::exchange(Entry* old, Entry* entry) {
  take_in(entry);
  index_.swap(old, entry);
  eviction_.replace(old, entry);
  entry->cold_->hits_sampled.store(old->cold_->hits_sampled.load(std::memory_order_relaxed), std::memory_order_relaxed);
  put_out(old);
  retire(old);
  // The new one may be larger. Whatever leaves for it, it is admitted: admit() saw that it fits alone.
  (void)make_room(0, UINT32_MAX);
}

void CacheTable::remove(Entry* entry) {
  index_.remove(entry);
  eviction_.remove(entry);
  put_out(entry);
  retire(entry);
}

bool CacheTable::invalidate(const KeyView& key, uint64_t hash) {
  bool found = false;
  {
    const std::lock_guard lock(mutex_);
    if (Entry* entry = index_.find(key, hash)) {
      remove(entry);
      ++counters_.purged;
      found = true;
    }
    finish_writing();
  }
  reclaim(RECLAIM_PER_INSERT);
  return found;
}

void CacheTable::set_limits(const CacheLimits& limits) {
  {
    const std::lock_guard lock(mutex_);
    limits_ = limits;
    enabled_.store(limits.bytes_max != 0, std::memory_order_relaxed);
    eviction_.set_capacity(limits.bytes_max);
    eviction_.set_ghosts_max(ghosts_for(limits.bytes_max));
    next_scavenge_ = MonoTime{};
  }
  for (bool fits = false; !fits;) {
    {
      const std::lock_guard lock(mutex_);
      fits = make_room(0, EVICT_PER_SLICE) || eviction_.bytes() == 0;
      finish_writing();
    }
    reclaim(EVICT_PER_SLICE);
  }
}

// ---- Looking

CacheStats CacheTable::stats() const {
  const std::lock_guard lock(mutex_);
  CacheStats stats = counters_;
  stats.entries = index_.entries();
  stats.bytes_max = limits_.bytes_max;
  stats.bytes_cached = ledger_.cached();
  stats.bytes_index = index_charged_;
  stats.bytes_transient = ledger_.transient();
  stats.bytes_overhead = ledger_.arena().overhead();
  stats.retired = retired_.count;
  for (const auto& reactor : reactors_) {
    for (size_t i = 0; i < VERDICT_COUNT; ++i) {
      stats.lookups[i] += reactor->lookups[i].load(std::memory_order_relaxed);
    }
  }
  return stats;
}

CacheWhy CacheTable::why(const KeyView& key, uint64_t hash, uint64_t generation, MonoTime now) const {
  const std::lock_guard lock(mutex_);
  const Entry* entry = index_.find(key, hash);
  if (entry == nullptr) {
    CacheWhy nothing;
    if (limits_.bytes_max == 0) nothing.verdict = Verdict::DISABLED;
    return nothing;
  }
  CacheWhy why{.verdict = judge(*entry, generation, now),
               .bytes = entry->charge_with_bodies(),
               .hits = entry->cold_->hits_sampled.load(std::memory_order_relaxed),
               .age = now - entry->created()};
  for (uint32_t i = 0; i < entry->variant_count_; ++i) {
    why.codings = static_cast<uint8_t>(why.codings | 1 << static_cast<uint32_t>(entry->variants()[i].coding));
  }
  const auto left = [now](MonoTime until) {
    return until > now && until != MonoTime::never() ? until - now : Duration{};
  };
  why.fresh_for = left(entry->expires());
  why.stale_for = left(entry->stale_until());
  why.error_for = left(entry->error_until());
  why.labels = entry->cold_->label_count;
  why.notes = entry->notes();
  if (entry->is_marker() && why.verdict == Verdict::EXPIRED) {
    why.verdict = Verdict::VARIES;
    why.variants = entry->labels().empty() ? 0 : labels_.count(entry->labels()[0].label) - 1;
  }
  return why;
}

std::vector<CacheTopRow> CacheTable::top(uint32_t count) const {
  struct Candidate {
    uint64_t hash;
    uint64_t weight;
  };
  std::vector<Candidate> candidates;
  for (const auto& reactor : reactors_) {
    reactor->hot.for_each([&](uint64_t hash, uint32_t weight) { candidates.push_back({hash, weight}); });
  }
  std::sort(candidates.begin(), candidates.end(), [](auto& a, auto& b) { return a.hash < b.hash; });
  size_t last = 0;
  for (size_t i = 1; i < candidates.size(); ++i) {
    if (candidates[i].hash == candidates[last].hash) {
      candidates[last].weight += candidates[i].weight;
    } else {
      candidates[++last] = candidates[i];
    }
  }
  if (!candidates.empty()) candidates.resize(last + 1);
  // Some of them may have left the table since.
  const size_t keep = std::min(candidates.size(), size_t{count} * 4 + 64);
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(keep), candidates.end(),
                    [](auto& a, auto& b) { return a.weight > b.weight; });
  std::vector<CacheTopRow> rows;
  {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < keep; ++i) {
      const Entry* entry = index_.find_by_hash(candidates[i].hash);
      if (entry == nullptr) continue;
      rows.push_back({.canonical = std::string(entry->canonical()),
                      .hits = entry->cold_->hits_sampled.load(std::memory_order_relaxed),
                      .bytes = entry->charge_with_bodies(),
                      .status = entry->status_,
                      .variants = entry->variant_count_});
      if (rows.back().canonical.empty()) {
        rows.back().canonical.append(entry->key().host).append(entry->key().target);
      }
    }
  }
  std::sort(rows.begin(), rows.end(), [](auto& a, auto& b) { return a.hits > b.hits; });
  if (rows.size() > count) rows.resize(count);
  return rows;
}

}  // namespace penstock
