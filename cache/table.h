// CacheTable: the response cache, one for all reactors of a server.
//
// Lookups run on the reactor threads without lock, allocation or store to a shared line. Everything
// that changes the table (insert, replace, purge, scavenge, limits) takes one mutex, does a bounded
// piece of work and unlinks; memory is freed when no reactor can still see it (EpochDomain).
// Threads: lookup() and quiescent()/offline()/online() on the reactor whose index is given; all
// else on any thread. It knows no socket, no HTTP and no clock: `now` is a parameter.
#pragma once

#include "cache/entry.h"
#include "cache/epoch.h"
#include "cache/eviction.h"
#include "cache/hot_list.h"
#include "cache/index.h"
#include "cache/label_purges.h"
#include "cache/labels.h"
#include "cache/purge_log.h"
#include "cache/verdict.h"
#include "src/base/prng.h"
#include "src/base/time.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct CacheLimits {
  uint64_t bytes_max = 256 * 1024 * 1024;      // cache.size: entries, bodies and index; 0 turns it off
  uint64_t entry_bytes_max = 8 * 1024 * 1024;  // one entry with its bodies
  Duration scavenge_period = seconds(120);     // unused that long (and at most twice that): flushed; 0: never
  // Gaps and free pages (Arena::overhead) may come to 1/20 of bytes_max and this; what is beyond counts as
  // cached. From half of that on entries are moved together.
  uint64_t overhead_slack = 8 * 1024 * 1024;
};

struct CacheConfig {
  uint32_t reactors = 1;
  uint64_t hash_seed = 0;  // random per start; hash_key() must be called with it
  CacheLimits limits;
};

enum class InsertOutcome : uint8_t {
  INSERTED,   // in the table; an entry of the same key was replaced
  TOO_LARGE,  // over entry_bytes_max, or over what bytes_max can ever hold
  STALE,      // its file changed, it expired or it was purged between fill and insert
  DISABLED,   // bytes_max is 0
  GONE,       // replace(): the old entry is no longer in the table
};

struct CacheStats {
  uint64_t entries = 0;
  uint64_t bytes_max = 0;
  uint64_t bytes_cached = 0;     // entries, bodies, index
  uint64_t bytes_index = 0;      // of which the index, the eviction's memory, and overhead beyond its slack
  uint64_t bytes_transient = 0;  // in flight
  uint64_t bytes_overhead = 0;   // held by the arena beyond all charges: gaps, free pages (see Arena)
  uint64_t retired = 0;          // unlinked, not yet freed
  uint64_t inserted = 0, replaced = 0, evicted = 0, purged = 0, scavenged = 0, stale_removed = 0, refused = 0;
  uint64_t relocated = 0;                         // entries moved so that sparse memory could be given back
  uint64_t purges = 0;                            // purge calls
  std::array<uint64_t, VERDICT_COUNT> lookups{};  // lookup() outcomes by verdict (HIT, MISS_FIRST, STALE_* …)
  [[nodiscard]] uint64_t hits() const { return lookups[static_cast<size_t>(Verdict::HIT)]; }
  [[nodiscard]] uint64_t misses() const {
    return std::accumulate(lookups.begin(), lookups.end(), uint64_t{0}) - hits();
  }
};

// What some of the entries take, and give.
struct CacheUse {
  uint64_t entries = 0;
  uint64_t bytes = 0;
  uint64_t hits = 0;  // estimate, of the entries that are there
};

struct CacheTopRow {
  std::string canonical;  // or the raw key where the entry has none
  uint64_t hits = 0;      // estimate: hits are sampled
  uint64_t bytes = 0;
  uint16_t status = 0;
  uint32_t variants = 0;
};

struct CacheSpelling {
  std::string host;
  std::string target;
};

// What `penstock cache why` tells of an entry.
struct CacheWhy {
  Verdict verdict = Verdict::MISS_FIRST;  // HIT where a lookup would hit now; VARIES for a marker
  uint64_t bytes = 0;
  uint64_t hits = 0;
  Duration age;
  uint8_t codings = 0;  // bit per Coding
  Duration fresh_for;   // 0: it has expired, or never does
  Duration stale_for;   // from now on, while a new one is made
  Duration error_for;   // from now on, where none can be had
  uint32_t labels = 0;
  uint32_t variants = 0;  // of a marker: entries that it leads to
  std::string notes;
};

// How the eviction reaches into an entry.
struct EntryEvictTraits {
  static uint64_t hash(const Entry* entry) { return entry->hash_; }
  static uint64_t bytes(const Entry* entry) { return entry->cold_->evict_bytes; }
  static std::atomic<uint8_t>& freq(Entry* entry) { return entry->freq_; }
  static Entry*& prev(Entry* entry) { return entry->cold_->evict_prev; }
  static Entry*& next(Entry* entry) { return entry->cold_->evict_next; }
  static uint8_t& queue(Entry* entry) { return entry->cold_->evict_queue; }
};

class CacheTable {
 public:
  // `ledger` and `validity` outlive the table. The ledger is shared with the BodyStore.
  CacheTable(const CacheConfig& config, MemoryLedger& ledger, const ValidityTable& validity);
  CacheTable(const CacheTable&) = delete;
  CacheTable& operator=(const CacheTable&) = delete;
  ~CacheTable();  // REQUIRES: no reactor runs; entries that are pinned live on until unpinned

  // ---- Reactor side: no lock, no allocation.

  // The fresh entry of `key`, lent until this reactor's next quiescent() or offline() (pin() it to keep it
  // longer), `why` = HIT; or nullptr, `why` = MISS_FIRST (no entry), STALE_FILE, STALE_CONFIG, EXPIRED,
  // PURGED or DISABLED. REQUIRES: the reactor is online; hash == hash_key(key, hash_seed).
  [[nodiscard]] const Entry* lookup(uint32_t reactor, const KeyView& key, uint64_t hash, uint64_t generation,
                                    MonoTime now, Verdict& why);
  // Where lookup() said EXPIRED: the entry all the same, lent as by lookup(), if it may still be of use
  // (Entry::is_marker, stale_until, error_until). Counts as a use of it, not as a lookup.
  [[nodiscard]] const Entry* lookup_kept(const KeyView& key, uint64_t hash, uint64_t generation, MonoTime now) const;
  // Between turns: the reactor holds no entry it was lent and has not pinned.
  void quiescent(uint32_t reactor) { epochs_.quiescent(reactor); }
  // Around a wait that may be long. A reactor is born offline.
  void offline(uint32_t reactor) { epochs_.offline(reactor); }
  void online(uint32_t reactor) { epochs_.online(reactor); }
  [[nodiscard]] uint64_t hash_seed() const { return hash_seed_; }

  // ---- Writers: any thread, a mutex, a bounded piece of work. None takes over the caller's pin.

  // To be read before the content is, and given to EntryBuilder: a purge in between is then seen.
  [[nodiscard]] uint64_t purge_mark() const { return purge_number_.load(std::memory_order_acquire); }

  // The same for labels.
  [[nodiscard]] uint64_t label_mark() const { return label_purges_.mark(); }

  // Puts a built entry in, evicting what must go. The entry may be served by the caller whatever the outcome.
  [[nodiscard]] InsertOutcome insert(Entry* entry, MonoTime now);
  // Puts `entry` in the place of `old` (same key), keeping its rank; GONE where `old` is no longer there.
  // For a variant that was compressed meanwhile.
  [[nodiscard]] InsertOutcome replace(const Entry* old, Entry* entry, MonoTime now);
  // Removes the entry of this key; false where there is none.
  bool invalidate(const KeyView& key, uint64_t hash);

  // Purges. On return no lookup that begins later finds what was purged, nor does a fill that began
  // earlier get in. Memory follows in maintain(). Names are canonical ("host/path"), matched by bytes.
  // A soft one ends lifetimes instead: lookup() says EXPIRED, and lookup_kept() gives what has a grace.
  // The number of the purge, for purge_fell(); 0 where too many are not swept out yet and `wait` is false, else
  // the caller works until there is room.
  uint64_t purge(PurgeKind kind, std::string_view text, PurgeMode mode, MonoTime now, bool wait = true);
  uint64_t purge_url(std::string_view canonical) { return purge(PurgeKind::URL, canonical, PurgeMode::HARD, {}); }
  uint64_t purge_prefix(std::string_view prefix) { return purge(PurgeKind::PREFIX, prefix, PurgeMode::HARD, {}); }
  uint64_t purge_all() { return purge(PurgeKind::ALL, {}, PurgeMode::HARD, {}); }
  // How many entries fell to a purge, or had their lifetime ended: known when the sweep behind it is over, and
  // kept for the last TALLIES_MAX purges. Each is counted once, wherever it was met first.
  [[nodiscard]] std::optional<uint64_t> purge_fell(uint64_t number) const;
  // Removes every entry that carries the label, or ends its lifetime, and keeps fills that began earlier out: work for
  // those alone. How many.
  uint64_t purge_label(uint64_t label, PurgeMode mode = PurgeMode::HARD, MonoTime now = {});

  // Live; lowering bytes_max evicts at once, in slices.
  void set_limits(const CacheLimits& limits);

  // Called by the control thread, every 100 ms or so: frees what nobody can see any more, sweeps out what was
  // purged, went stale or was unused for scavenge_period, in slices that hold the mutex ≤ ~100 us each.
  // Returns true while there is more to do at once.
  bool maintain(MonoTime now);

  // ---- Looking: control thread.

  [[nodiscard]] CacheStats stats() const;
  // The `count` most hit entries of late, most first: from sampled hits, no walk over the table.
  [[nodiscard]] std::vector<CacheTopRow> top(uint32_t count) const;
  // Under which keys entries of that canonical name lie, `most` of them at most. A walk over the table, in slices: what
  // moves in it meanwhile may be missed.
  [[nodiscard]] std::vector<CacheSpelling> spellings_of(std::string_view canonical, size_t most);
  // What each host has in it, by the Host of the requests that asked; likewise a walk.
  [[nodiscard]] std::map<std::string, CacheUse, std::less<>> use_by_host();
  // What a lookup would say, without counting as one.
  [[nodiscard]] CacheWhy why(const KeyView& key, uint64_t hash, uint64_t generation, MonoTime now) const;

  // The bookkeeping held against itself, for tests: walks everything under the mutex and aborts where a
  // byte, a link or a count does not add up.
  void check_invariants() const;

 private:
  // One reactor's own lines: counters that only it writes and others may read.
  struct alignas(64) Reactor {
    explicit Reactor(uint64_t seed) : prng(seed) {}
    std::array<std::atomic<uint64_t>, VERDICT_COUNT> lookups{};
    uint32_t until_sample = 1;
    uint32_t sample_weight = 1;
    uint32_t exact_left = 0;  // samples of this period that may still be taken of every hit
    MonoTime period_end;
    Prng prng;
    HotList hot;
  };
  struct Sweep {
    bool active = false;
    bool scavenge = false;
    bool relocate = false;  // the arena is being evacuated
    uint32_t bucket = 0;
    uint64_t purge_number = 0;  // what was ordered up to here will be swept out when it ends
  };
  struct Garbage {
    uint64_t epoch;
    void* bucket;         // of the index, or
    const PurgeLog* log;  // a log that was replaced
  };
  struct RetiredEntries {
    Entry* head = nullptr;  // oldest; linked by evict_next
    Entry* tail = nullptr;
    Entry* first_unstamped = nullptr;
    uint64_t count = 0;
  };

  struct PurgeTally {
    uint64_t number;
    uint64_t fell = 0;
    bool over = false;
  };
  static constexpr size_t TALLIES_MAX = 4 * PurgeLog::RECORDS_MAX;

  [[nodiscard]] Verdict judge(const Entry& entry, uint64_t generation, MonoTime now) const;
  [[nodiscard]] bool purged(const Entry& entry) const;
  [[nodiscard]] static MonoTime kept_until(const Entry& entry) {
    return std::max(entry.stale_until(), entry.error_until());
  }
  void sample(Reactor& reactor, const Entry& entry, MonoTime now);

  // All below: REQUIRES mutex_.
  [[nodiscard]] InsertOutcome admit(const Entry& entry, MonoTime now);
  [[nodiscard]] bool make_room(uint64_t bytes, uint32_t evictions_max);
  void take_in(Entry* entry);
  void hold_group(const Entry* entry);
  void put_out(Entry* entry);
  void exchange(Entry* old, Entry* entry);
  void relocate(Entry* entry);
  [[nodiscard]] uint64_t overhead_allowed() const { return limits_.bytes_max / 20 + limits_.overhead_slack; }
  void remove(Entry* entry);
  void retire(Entry* entry);
  void finish_writing();
  void charge_index();
  void append_purge(PurgeRecord record);
  void count_fallen(const Entry& entry);
  void add_fallen(uint64_t number);
  void publish(std::unique_ptr<PurgeLog> log);
  template <typename Visit>
  void walk_in_slices(Visit&& visit);
  void sweep_slice(MonoTime now);
  void sweep_entry(Entry* entry, MonoTime now);
  void end_sweep();

  // Takes mutex_.
  void reclaim(uint32_t entries_max);
  static void free_garbage(const Garbage& garbage);

  // What a lookup reads besides the entry; written seldom.
  CacheIndex index_;
  const ValidityTable& validity_;
  alignas(64) std::atomic<uint64_t> purge_number_{0};
  std::atomic<const PurgeLog*> purge_log_;
  std::atomic<bool> enabled_{true};
  std::vector<std::unique_ptr<Reactor>> reactors_;
  uint64_t hash_seed_;
  EpochDomain epochs_;

  alignas(64) mutable std::mutex mutex_;
  MemoryLedger& ledger_;
  CacheLimits limits_;
  Eviction<Entry, EntryEvictTraits> eviction_;
  RetiredEntries retired_;
  std::vector<Garbage> garbage_;
  size_t garbage_stamped_ = 0;
  Sweep sweep_;
  MonoTime next_scavenge_;
  MonoTime next_relocation_;
  uint64_t generation_seen_ = 0;
  uint64_t generation_swept_ = 0;
  uint64_t index_charged_ = 0;
  LabelIndex labels_;
  LabelPurges label_purges_;
  std::deque<PurgeTally> tallies_;  // by number, without gaps
  CacheStats counters_;             // only the running counts in it
};

}  // namespace penstock
