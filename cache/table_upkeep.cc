// The slow side of CacheTable: purges, sweeps, and giving memory back. Invariants: table.cc.
//
// A sweep walks all buckets in slices. At its end every entry has been checked against the purges that
// were ordered when it began, so those leave the log. Entries that came in meanwhile were checked on
// their way in; growth of the index moves entries only ahead of the walk, and shrinking waits.
#include "cache/table.h"
#include "src/base/assert.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace penstock {
namespace {

constexpr uint32_t BUCKETS_PER_SLICE = 64;    // some 256 entries: about 30 us with the mutex held
constexpr uint32_t SLICES_PER_MAINTAIN = 32;  // about 1 ms of one call
constexpr uint32_t EVICT_TO_SETTLE = 4096;
constexpr uint32_t MERGES_PER_SLICE = 256;
constexpr uint32_t RECLAIM_PER_MAINTAIN = 8192;
constexpr Duration RELOCATION_INTERVAL = seconds(2);

}  // namespace

uint64_t CacheTable::purge_label(uint64_t label, PurgeMode mode, MonoTime now) {
  constexpr uint32_t PER_SLICE = 256;
  uint64_t fell = 0, left = UINT64_MAX;
  for (bool first = true, more = true; more; first = false) {
    {
      const std::lock_guard lock(mutex_);
      if (first) {
        label_purges_.purge(label);  // before anything goes: what comes in from now on began later
        ++counters_.purges;
        left = labels_.count(label);
      }
      Entry* entry = labels_.oldest(label);
      for (uint32_t i = 0; i < PER_SLICE && left > 0 && entry != nullptr; ++i, --left, entry = labels_.oldest(label)) {
        if (mode == PurgeMode::HARD) {
          remove(entry);
          ++counters_.purged;
          ++fell;
          continue;
        }
        if (entry->expires() > now) ++fell;
        entry->soften(now, 0);
        labels_.unlink(entry);  // behind those that are still to be met
        labels_.link(entry);
      }
      more = left > 0 && entry != nullptr;
      finish_writing();
    }
    reclaim(PER_SLICE);
  }
  return fell;
}

uint64_t CacheTable::purge(PurgeKind kind, std::string_view text, PurgeMode mode, MonoTime now, bool wait) {
  while (true) {
    const std::lock_guard lock(mutex_);
    const PurgeLog& log = *purge_log_.load(std::memory_order_relaxed);
    const bool room = log.records.size() < PurgeLog::RECORDS_MAX;
    if (room) append_purge({.kind = kind, .mode = mode, .ordered = now, .text = std::string(text)});
    if (!room && wait) {
      // Too many at once: this caller works a slice off before it may add its own.
      if (!sweep_.active) sweep_ = {.active = true, .purge_number = log.number};
      sweep_slice(MonoTime{});  // the beginning of time: nothing has expired
    }
    finish_writing();
    if (room) return tallies_.back().number;
    if (!wait) return 0;
  }
}

void CacheTable::append_purge(PurgeRecord record) {
  auto log = std::make_unique<PurgeLog>(*purge_log_.load(std::memory_order_relaxed));
  record.number = ++log->number;
  tallies_.push_back({.number = record.number});
  if (tallies_.size() > TALLIES_MAX) tallies_.pop_front();
  log->records.push_back(std::move(record));
  ++counters_.purges;
  publish(std::move(log));
}

// An entry is about to leave, or is swept: to which purges is it due that have not counted it yet?
void CacheTable::count_fallen(const Entry& entry) {
  if (entry.is_marker()) return;
  EntryCold& cold = *entry.cold_;
  const uint64_t softened = cold.softened.load(std::memory_order_relaxed);
  if (softened != cold.softened_counted) {
    cold.softened_counted = softened;
    add_fallen(softened);
  }
  const PurgeLog& log = *purge_log_.load(std::memory_order_relaxed);
  const uint64_t mark = entry.purge_checked_.load(std::memory_order_relaxed);
  if (mark >= log.number) return;
  if (const auto* hard = log.first(PurgeMode::HARD, entry.canonical(), mark)) return add_fallen(hard->number);
  const PurgeRecord* const soft = log.first(PurgeMode::SOFT, entry.canonical(), mark);
  if (soft != nullptr && entry.expires() > soft->ordered) add_fallen(soft->number);
}

void CacheTable::add_fallen(uint64_t number) {
  if (tallies_.empty() || number < tallies_.front().number) return;  // longer ago than anybody asks for
  ++tallies_[number - tallies_.front().number].fell;
}

std::optional<uint64_t> CacheTable::purge_fell(uint64_t number) const {
  const std::lock_guard lock(mutex_);
  if (tallies_.empty() || number < tallies_.front().number || number > tallies_.back().number) return std::nullopt;
  const PurgeTally& tally = tallies_[number - tallies_.front().number];
  return tally.over ? std::optional(tally.fell) : std::nullopt;
}

void CacheTable::publish(std::unique_ptr<PurgeLog> log) {
  const uint64_t number = log->number;
  const PurgeLog* old = purge_log_.exchange(log.release(), std::memory_order_acq_rel);
  purge_number_.store(number, std::memory_order_seq_cst);
  garbage_.push_back({0, nullptr, old});
}

bool CacheTable::maintain(MonoTime now) {
  bool more = false;
  for (uint32_t slice = 0; slice < SLICES_PER_MAINTAIN; ++slice) {
    const std::lock_guard lock(mutex_);
    const PurgeLog& log = *purge_log_.load(std::memory_order_relaxed);
    const bool scavenge_due = limits_.scavenge_period > Duration{} && now >= next_scavenge_;
    if (!sweep_.active) {
      const bool scavenge = scavenge_due && next_scavenge_ != MonoTime{};
      if (scavenge_due) next_scavenge_ = now + limits_.scavenge_period;
      const bool relocation = now >= next_relocation_ && ledger_.arena().overhead() > overhead_allowed() / 2 &&
                              ledger_.arena().begin_evacuation();
      if (relocation) next_relocation_ = now + RELOCATION_INTERVAL;
      if (!scavenge && !relocation && log.records.empty() && generation_swept_ == generation_seen_) {
        more = index_.shrink(MERGES_PER_SLICE);
        finish_writing();
        if (!more) break;
        continue;
      }
      sweep_ = {.active = true, .scavenge = scavenge, .relocate = relocation, .purge_number = log.number};
      generation_swept_ = generation_seen_;
    }
    sweep_slice(now);
    more = true;
    finish_writing();
  }
  reclaim(RECLAIM_PER_MAINTAIN);
  return more;
}

// `visit` gives whether it wants to see more.
template <typename Visit>
void CacheTable::walk_in_slices(Visit&& visit) {
  bool more = true;
  for (uint32_t bucket = 0, end = 1; bucket < end && more;) {
    const std::lock_guard lock(mutex_);
    end = index_.buckets();
    for (const uint32_t pause = std::min(end, bucket + BUCKETS_PER_SLICE); bucket < pause; ++bucket) {
      index_.for_each_in(bucket, [&](const Entry* entry) { more = visit(*entry) && more; });
    }
  }
}

std::vector<CacheSpelling> CacheTable::spellings_of(std::string_view canonical, size_t most) {
  std::vector<CacheSpelling> found;
  walk_in_slices([&](const Entry& entry) {
    if (entry.canonical() != canonical || found.size() >= most) return found.size() < most;
    found.push_back({std::string(entry.key().host), std::string(entry.key().target)});
    return true;
  });
  return found;
}

std::map<std::string, CacheUse, std::less<>> CacheTable::use_by_host() {
  std::map<std::string, CacheUse, std::less<>> found;
  walk_in_slices([&](const Entry& entry) {
    const std::string_view host = entry.key().host;
    auto use = found.find(host);
    if (use == found.end()) use = found.emplace(host, CacheUse{}).first;
    ++use->second.entries;
    use->second.bytes += entry.charge_with_bodies();
    use->second.hits += entry.cold_->hits_sampled.load(std::memory_order_relaxed);
    return true;
  });
  return found;
}

void CacheTable::sweep_slice(MonoTime now) {
  const uint32_t end = std::min(index_.buckets(), sweep_.bucket + BUCKETS_PER_SLICE);
  for (; sweep_.bucket < end; ++sweep_.bucket) {
    index_.for_each_in(sweep_.bucket, [&](Entry* entry) { sweep_entry(entry, now); });
  }
  if (sweep_.bucket >= index_.buckets()) end_sweep();
}

void CacheTable::sweep_entry(Entry* entry, MonoTime now) {
  const Verdict verdict = judge(*entry, generation_seen_, now);
  const bool kept = verdict == Verdict::EXPIRED && now < kept_until(*entry);
  if (verdict != Verdict::HIT && !kept) {
    remove(entry);  // and counts it
    ++(verdict == Verdict::PURGED ? counters_.purged : counters_.stale_removed);
    return;
  }
  count_fallen(*entry);
  if (sweep_.scavenge) {
    if (entry->used_.load(std::memory_order_relaxed) == 0) {
      remove(entry);
      ++counters_.scavenged;
      return;
    }
    entry->used_.store(0, std::memory_order_relaxed);
  }
  if (sweep_.relocate) relocate(entry);
}

// Puts a copy in its place if it, or a body of it, lies where memory is to be given back. Readers and senders
// of the old one keep it as long as they need.
void CacheTable::relocate(Entry* entry) {
  const Arena& arena = ledger_.arena();
  bool moves = arena.evacuating(entry, entry->cold_->bytes);
  EntryBuilder builder = EntryBuilder::from(*entry);
  std::array<Body*, CODINGS> copies{};
  bool complete = true;
  for (uint32_t i = 0; i < entry->variant_count_; ++i) {
    const Body& body = *entry->variants()[i].body;
    if (body.fd() >= 0 || !arena.evacuating(&body, body.arena_bytes())) continue;
    moves = true;
    copies[i] = body.store_.create_memory(body.size());
    if (copies[i] == nullptr) {
      complete = false;  // at the bound of transient bytes: another time
      break;
    }
    if (body.size() > 0) std::memcpy(copies[i]->writable(), body.data(), body.size());
    complete = copies[i]->seal() && complete;
    builder.change_body(i, copies[i]);
  }
  Entry* copy = moves && complete ? builder.build(ledger_) : nullptr;
  if (copy != nullptr) {
    copy->used_.store(entry->used_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    exchange(entry, copy);
    copy->unpin();
    ++counters_.relocated;
  }
  for (Body* body : copies) {
    if (body != nullptr) body->unpin();
  }
}

void CacheTable::end_sweep() {
  const PurgeLog& log = *purge_log_.load(std::memory_order_relaxed);
  if (sweep_.purge_number > log.base) {
    auto rest = std::make_unique<PurgeLog>(log);
    rest->base = sweep_.purge_number;
    std::erase_if(rest->records, [&](const PurgeRecord& record) { return record.number <= rest->base; });
    for (PurgeTally& tally : tallies_) tally.over = tally.over || tally.number <= rest->base;
    publish(std::move(rest));
  }
  if (sweep_.relocate) ledger_.arena().end_evacuation();
  sweep_ = {};
}

// ---- Giving memory back

void CacheTable::retire(Entry* entry) {
  EntryCold& cold = *entry->cold_;
  cold.evict_next = nullptr;
  (retired_.tail != nullptr ? retired_.tail->cold_->evict_next : retired_.head) = entry;
  retired_.tail = entry;
  if (retired_.first_unstamped == nullptr) retired_.first_unstamped = entry;
  ++retired_.count;
}

// Ends every change: accounts for the index and gives what was unlinked its epoch.
void CacheTable::finish_writing() {
  for (void* bucket : index_.retired()) garbage_.push_back({0, bucket, nullptr});
  index_.retired().clear();
  charge_index();
  // The ghosts may have doubled. They do so a few times in a cache's life.
  while (ledger_.cached() > limits_.bytes_max && make_room(0, EVICT_TO_SETTLE)) charge_index();
  if (retired_.first_unstamped == nullptr && garbage_stamped_ == garbage_.size()) return;
  const uint64_t epoch = epochs_.advance();
  for (Entry* entry = retired_.first_unstamped; entry != nullptr; entry = entry->cold_->evict_next) {
    entry->cold_->retire_epoch = epoch;
  }
  retired_.first_unstamped = nullptr;
  for (; garbage_stamped_ < garbage_.size(); ++garbage_stamped_) garbage_[garbage_stamped_].epoch = epoch;
}

void CacheTable::charge_index() {
  const uint64_t overhead = ledger_.arena().overhead();
  const uint64_t excess = overhead > overhead_allowed() ? overhead - overhead_allowed() : 0;
  const uint64_t bytes = index_.memory_bytes() + labels_.memory_bytes() + eviction_.ghost_memory_bytes() + excess;
  if (bytes > index_charged_) ledger_.charge_cached(bytes - index_charged_);
  if (bytes < index_charged_) ledger_.release_cached(index_charged_ - bytes);
  index_charged_ = bytes;
}

// Frees outside the mutex what no reactor can see any more.
void CacheTable::reclaim(uint32_t entries_max) {
  Entry* batch = nullptr;
  std::vector<Garbage> garbage;
  {
    const std::lock_guard lock(mutex_);
    if (retired_.head == nullptr && garbage_.empty()) return;
    const uint64_t safe = epochs_.safe_epoch();
    Entry* last = nullptr;
    Entry* at = retired_.head;
    for (; at != nullptr && at->cold_->retire_epoch <= safe && entries_max > 0; --entries_max) {
      last = at;
      at = at->cold_->evict_next;
      --retired_.count;
    }
    if (last != nullptr) {
      batch = retired_.head;
      last->cold_->evict_next = nullptr;
      retired_.head = at;
      if (at == nullptr) retired_.tail = nullptr;
    }
    const auto seen = std::find_if(garbage_.begin(), garbage_.end(), [&](auto& g) { return g.epoch > safe; });
    garbage.assign(garbage_.begin(), seen);
    garbage_.erase(garbage_.begin(), seen);
    garbage_stamped_ = garbage_.size();
  }
  while (batch != nullptr) {
    Entry* entry = batch;
    batch = entry->cold_->evict_next;
    entry->unpin();
  }
  for (const Garbage& item : garbage) free_garbage(item);
}

void CacheTable::free_garbage(const Garbage& garbage) {
  if (garbage.bucket != nullptr) CacheIndex::free_retired(garbage.bucket);
  const std::unique_ptr<const PurgeLog> log(garbage.log);
}

// ---- Held against itself

void CacheTable::check_invariants() const {
  const std::lock_guard lock(mutex_);
  auto& index = const_cast<CacheIndex&>(index_);
  uint64_t entries = 0, cached = index_charged_, queued = 0;
  std::vector<const Body*> bodies;
  for (uint32_t i = 0; i < index.buckets(); ++i) {
    index.for_each_in(i, [&](Entry* entry) {
      ASSERT(entry->cold_->in_table && entry->cold_->pins.load() >= 1);
      ASSERT(index.find(entry->key(), entry->hash_) == entry);
      ++entries;
      cached += entry->cold_->charge;
      queued += entry->cold_->evict_bytes;
      for (uint32_t v = 0; v < entry->variant_count_; ++v) bodies.push_back(entry->variants()[v].body);
    });
  }
  std::sort(bodies.begin(), bodies.end());
  for (size_t i = 0; i < bodies.size(); ++i) {
    const auto refs = static_cast<uint32_t>(std::upper_bound(bodies.begin(), bodies.end(), bodies[i]) -
                                            std::lower_bound(bodies.begin(), bodies.end(), bodies[i]));
    ASSERT(bodies[i]->table_refs_ == refs);
    if (i == 0 || bodies[i] != bodies[i - 1]) cached += bodies[i]->charge();
  }
  ASSERT(entries == index_.entries());
  ASSERT(queued == eviction_.bytes());
  ASSERT(cached == ledger_.cached());
  ASSERT(ledger_.cached() <= limits_.bytes_max || entries == 0);
}

}  // namespace penstock
