// Entry: one cached response, immutable and ready for the wire; EntryBuilder makes it.
//
// One allocation holds the key, up to four variants by content coding, each with its complete heads;
// the bodies are Body objects of their own. A hit reads the bucket, the first line of the entry, the
// variant's line, the key and the head: no other metadata. Heads are stored whole, with a date of 29
// bytes at date_offset for the sender to replace: head[0, date_offset) + date + the rest + body.
//
// Lifetime: CacheTable::lookup() lends an entry until the reactor's next quiescent(). Who needs it
// longer (a send still in flight) pins it within that turn and unpins it when done. Any thread may unpin.
#pragma once

#include "cache/body.h"
#include "cache/key.h"
#include "cache/validity.h"
#include "src/base/coding.h"
#include "src/base/time.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

inline constexpr uint32_t CODINGS = CODING_COUNT;
inline constexpr uint8_t PICK_NONE = 0xFF;

// The 29 bytes of an IMF-fixdate (RFC 9110 section 5.6.7).
inline constexpr uint32_t DATE_BYTES = 29;

// One representation. Exactly one cache line.
struct alignas(64) Variant {
  const char* head_data;      // status line, fields, blank line
  const char* head_304_data;  // the 304 for it; size 0 where there is none
  const char* etag_data;      // with its quotes; size 0 where there is none
  const Body* body;           // never nullptr
  const char* body_data;      // body->data() of a plain body; nullptr for a memfd body (see Body::fd)
  uint64_t body_size;
  uint32_t head_size;
  uint32_t head_304_size;
  uint16_t date_offset;
  uint16_t date_offset_304;
  uint16_t etag_size;
  Coding coding;

  [[nodiscard]] std::string_view head() const { return {head_data, head_size}; }
  [[nodiscard]] std::string_view head_304() const { return {head_304_data, head_304_size}; }
  [[nodiscard]] std::string_view etag() const { return {etag_data, etag_size}; }
};
static_assert(sizeof(Variant) == 64, "a hit reads one line of the variant");

// One label of an entry (see LabelIndex): a link in the list of all that carry it.
struct EntryLabel {
  uint64_t label = 0;
  class Entry* entry = nullptr;
  EntryLabel* prev = nullptr;
  EntryLabel* next = nullptr;
};
inline constexpr uint32_t LABELS_MAX = 40;  // of one entry

// What only fills, writers and tools look at, and what is written: kept off the hot lines.
struct EntryCold {
  std::atomic<uint32_t> pins{1};
  std::atomic<uint32_t> hits_sampled{0};  // one in HIT_SAMPLE hits; see CacheTable
  class Entry* evict_prev = nullptr;      // the eviction queue; CacheTable's mutex guards these
  class Entry* evict_next = nullptr;
  uint8_t evict_queue = 0;
  bool in_table = false;
  uint64_t retire_epoch = 0;
  uint64_t evict_bytes = 0;  // what it weighed when it entered the queue
  size_t bytes = 0;          // of this allocation,
  uint64_t charge = 0;       // and what it costs; bodies carry their own
  MonoTime created;
  // Beyond `expires`: for whom a new one is being made, and for whom none can be made. A soft purge moves them.
  std::atomic<MonoTime> stale_until{MonoTime{}};
  std::atomic<MonoTime> error_until{MonoTime{}};
  std::atomic<uint64_t> softened{0};  // number of the soft purge that ended its lifetime
  uint64_t softened_counted = 0;      // CacheTable's mutex guards it
  Duration soft_grace;                // of a file's entry: see EntryBuilder
  uint64_t label_mark = 0;
  EntryLabel* labels = nullptr;
  uint32_t label_count = 0;
  uint32_t group_max = 0;
  MemoryLedger* ledger = nullptr;
  std::string_view canonical;
  std::string_view notes;
};

class alignas(64) Entry {
 public:
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  // The variant for an accept mask (ACCEPT_* ORed), or nullptr where none will do.
  [[nodiscard]] const Variant* pick(uint8_t accept_mask) const {
    const uint8_t index = pick_[accept_mask & 7];
    return index == PICK_NONE ? nullptr : variants() + index;
  }
  // The variant of one coding, or nullptr.
  [[nodiscard]] const Variant* variant(Coding coding) const;
  [[nodiscard]] uint32_t variant_count() const { return variant_count_; }
  [[nodiscard]] const Variant& variant_at(uint32_t index) const { return variants()[index]; }

  [[nodiscard]] KeyView key() const {
    return {secure_, {key_data_, host_size_}, {key_data_ + host_size_, target_size_}};
  }
  [[nodiscard]] bool has_key(const KeyView& key) const { return this->key() == key; }
  [[nodiscard]] uint64_t hash() const { return hash_; }
  [[nodiscard]] uint64_t generation() const { return generation_; }
  [[nodiscard]] Validity validity() const { return {validity_cell_, validity_value_}; }
  [[nodiscard]] uint16_t status() const { return status_; }
  [[nodiscard]] uint32_t owner_flags() const { return owner_flags_; }
  [[nodiscard]] uint64_t owner_word() const { return owner_word_; }
  [[nodiscard]] int64_t last_modified() const { return last_modified_; }  // Unix seconds; INT64_MIN: unknown
  [[nodiscard]] MonoTime expires() const { return expires_.load(std::memory_order_acquire); }  // never() for files
  [[nodiscard]] std::string_view content_type() const { return {content_type_data_, content_type_size_}; }
  [[nodiscard]] std::string_view canonical() const { return cold_->canonical; }  // "host/path"; purges name it
  [[nodiscard]] MonoTime created() const { return cold_->created; }
  // No longer fresh, it may still answer until then: while a new one is made; where none can be had.
  [[nodiscard]] MonoTime stale_until() const { return cold_->stale_until.load(std::memory_order_relaxed); }
  [[nodiscard]] MonoTime error_until() const { return cold_->error_until.load(std::memory_order_relaxed); }
  [[nodiscard]] std::string_view notes() const { return cold_->notes; }  // the owner's, for a marker what it marks
  [[nodiscard]] std::span<EntryLabel> labels() const { return {cold_->labels, cold_->label_count}; }
  // It answers nothing itself: its key leads to others (EntryBuilder::marker).
  [[nodiscard]] bool is_marker() const { return variant_count_ == 0; }
  // This allocation alone, without the bodies.
  [[nodiscard]] uint64_t charge() const { return cold_->charge; }
  // With its bodies (a body shared with another entry counts in both).
  [[nodiscard]] uint64_t charge_with_bodies() const;

  // One more holder. REQUIRES: lent by lookup() in this turn, or the caller's own pin.
  void pin() const { cold_->pins.fetch_add(1, std::memory_order_relaxed); }
  // One holder less; the last one frees it, and lets go of its bodies. Any thread.
  void unpin() const;

 private:
  friend struct EntryBuilder;
  friend class CacheIndex;
  friend class CacheTable;
  friend struct EntryEvictTraits;
  friend class LabelIndex;
  Entry() = default;
  ~Entry() = default;
  [[nodiscard]] const Variant* variants() const { return reinterpret_cast<const Variant*>(this + 1); }
  // Its lifetime is over since `ordered`, by soft purge `number`; its graces begin there. Whoever comes upon it first
  // does it, several may at once: they write the same.
  void soften(MonoTime ordered, uint64_t number) const;

  // Line 1: what every lookup reads. The atomics are written only when their value changes, so
  // that a hot entry's line stays shared between all reactors.
  uint64_t hash_ = 0;
  uint64_t generation_ = 0;
  const char* key_data_ = nullptr;  // host then target
  uint32_t validity_cell_ = 0;
  uint32_t validity_value_ = 0;
  mutable std::atomic<uint64_t> purge_checked_{0};  // no purge up to this one concerns it
  uint16_t host_size_ = 0;
  uint16_t target_size_ = 0;
  bool secure_ = false;
  mutable std::atomic<bool> mortal_{false};  // expires_ is not never()
  mutable std::atomic<uint8_t> freq_{0};     // 0..3: hits since the eviction queue last looked
  mutable std::atomic<uint8_t> used_{1};     // hit since the scavenger last looked
  uint8_t variant_count_ = 0;
  std::array<uint8_t, 8> pick_{};
  // Line 2: what some lookups read.
  mutable std::atomic<MonoTime> expires_{MonoTime::never()};
  int64_t last_modified_ = INT64_MIN;
  EntryCold* cold_ = nullptr;
  uint64_t owner_word_ = 0;
  const char* content_type_data_ = nullptr;
  uint32_t owner_flags_ = 0;
  uint16_t status_ = 200;
  uint16_t content_type_size_ = 0;
};
static_assert(sizeof(Entry) <= 128, "the hot part of an entry is two cache lines");

struct VariantSpec {
  Coding coding = Coding::IDENTITY;
  std::string_view head;     // complete, with the blank line
  uint32_t date_offset = 0;  // REQUIRES: date_offset + DATE_BYTES <= head.size(), or 0: no date
  std::string_view head_304 = {};
  uint32_t date_offset_304 = 0;
  std::string_view etag = {};
  const Body* body = nullptr;  // REQUIRES: sealed; the entry takes a pin of its own
};

// Fill in the fields, then build(). Views, and the caller's pins of the bodies, must live until build()
// returns; the entry takes pins of its own.
struct EntryBuilder {
  KeyView key;
  uint64_t hash = 0;        // hash_key(key, seed)
  uint64_t generation = 0;  // of the configuration it was found under
  uint64_t purge_mark = 0;  // CacheTable::purge_mark(), read BEFORE the content was
  Validity validity;        // ValidityTable::current(), read BEFORE the content was
  MonoTime created;
  MonoTime expires = MonoTime::never();
  uint16_t status = 200;
  int64_t last_modified = INT64_MIN;
  std::string_view content_type = {};
  std::string_view canonical = {};
  uint32_t owner_flags = 0;  // free for the owner: sub-status, route bits …
  uint64_t owner_word = 0;   // free for the owner: site, inode …
  MonoTime stale_until;      // see Entry; before `expires`: not at all
  MonoTime error_until;
  // How long it may still answer after a soft purge, where `expires` is never(); else its other graces say it.
  Duration soft_grace;
  std::string_view notes = {};
  // Labels that it can be purged by (CacheTable::purge_label). The first is that of its group: of the entries that
  // carry it no more than group_max stay, the oldest leave; 0: no bound.
  std::array<uint64_t, LABELS_MAX> labels{};
  uint32_t label_count = 0;
  uint32_t group_max = 0;
  uint64_t label_mark = 0;  // CacheTable::label_mark(), read BEFORE the content was
  // An entry without variants: lookup() finds it expired, lookup_kept() gives it with its notes until stale_until.
  bool marker = false;

  // At most one per coding. False where the variant cannot be stored (fields over 64 KiB, a
  // second one of the same coding, a body that is not sealed).
  [[nodiscard]] bool add(const VariantSpec& variant);

  // A builder with everything of `entry`, so that replace() can add a variant. The entry must
  // outlive the builder.
  [[nodiscard]] static EntryBuilder from(const Entry& entry);

  // The entry, pinned once for the caller, or nullptr: no variant, key too long, or no transient bytes
  // left (MemoryLedger). Of the variants that a request accepts it will pick the smallest.
  [[nodiscard]] Entry* build(MemoryLedger& ledger) const;

  [[nodiscard]] uint32_t variant_count() const { return variant_count_; }
  // Another body with the same bytes for the variant. REQUIRES: index < variant_count(), sealed, equal size.
  void change_body(uint32_t index, const Body* body) { variants_[index].body = body; }

 private:
  void fill_fields(Entry& entry) const;
  void fill_variants(Entry& entry, char* text) const;
  [[nodiscard]] uint8_t smallest_for(uint8_t accept_mask) const;

  std::array<VariantSpec, CODINGS> variants_;
  uint32_t variant_count_ = 0;
};

}  // namespace penstock
