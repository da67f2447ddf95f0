// Layout of the one allocation: Entry | Variant[n] | key, heads, etags, content type, canonical, notes | EntryCold |
// EntryLabel[n].
// The cold part has lines of its own at the end: pins and sampled hits are written while others read
// the rest.
#include "cache/entry.h"

#include "src/base/assert.h"

#include <cstring>
#include <new>

namespace penstock {
namespace {

constexpr size_t LINE = 64;
constexpr size_t FIELD_BYTES_MAX = 65'535;

constexpr size_t line_round(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

bool date_fits(std::string_view head, uint32_t offset) {
  return offset == 0 || (offset <= head.size() && head.size() - offset >= DATE_BYTES);
}

// Copies texts one after the other into an entry's allocation.
class Packer {
 public:
  explicit Packer(char* at) : at_(at) {}
  const char* put(std::string_view text) {
    char* start = at_;
    if (!text.empty()) std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
    return start;
  }

 private:
  char* at_;
};

}  // namespace

const Variant* Entry::variant(Coding coding) const {
  for (uint32_t i = 0; i < variant_count_; ++i) {
    if (variants()[i].coding == coding) return &variants()[i];
  }
  return nullptr;
}

uint64_t Entry::charge_with_bodies() const {
  uint64_t bytes = cold_->charge;
  for (uint32_t i = 0; i < variant_count_; ++i) bytes += variants()[i].body->charge();
  return bytes;
}

void Entry::unpin() const {
  if (cold_->pins.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  ASSERT(!cold_->in_table);
  for (uint32_t i = 0; i < variant_count_; ++i) variants()[i].body->unpin();
  MemoryLedger& ledger = *cold_->ledger;
  const size_t bytes = cold_->bytes;
  ledger.release_transient(cold_->charge);
  Entry* dead = const_cast<Entry*>(this);
  dead->cold_->~EntryCold();
  dead->~Entry();
  ledger.arena().free(dead, bytes);
}

bool EntryBuilder::add(const VariantSpec& variant) {
  if (variant_count_ == CODINGS || variant.body == nullptr || !variant.body->sealed()) return false;
  if (variant.head.size() > FIELD_BYTES_MAX || variant.head_304.size() > FIELD_BYTES_MAX) return false;
  if (variant.etag.size() > FIELD_BYTES_MAX) return false;
  if (!date_fits(variant.head, variant.date_offset) || !date_fits(variant.head_304, variant.date_offset_304)) {
    return false;
  }
  for (uint32_t i = 0; i < variant_count_; ++i) {
    if (variants_[i].coding == variant.coding) return false;
  }
  variants_[variant_count_++] = variant;
  return true;
}

// Release: who sees that it has ended sees the graces that go with it.
void Entry::soften(MonoTime ordered, uint64_t number) const {
  const MonoTime ends = expires();
  if (ends <= ordered) return;  // it had ended before, and its graces run
  const auto grace = [&](MonoTime until) {
    return ends == MonoTime::never() ? cold_->soft_grace : until > ends ? until - ends : Duration{};
  };
  cold_->stale_until.store(ordered + grace(stale_until()), std::memory_order_relaxed);
  cold_->error_until.store(ordered + grace(error_until()), std::memory_order_relaxed);
  cold_->softened.store(number, std::memory_order_relaxed);
  // Not `ordered`: a reactor's turn may have begun before that, and asks after it.
  expires_.store(MonoTime{}, std::memory_order_release);
  mortal_.store(true, std::memory_order_release);
}

EntryBuilder EntryBuilder::from(const Entry& entry) {
  EntryBuilder builder;
  builder.key = entry.key();
  builder.hash = entry.hash();
  builder.generation = entry.generation();
  builder.purge_mark = entry.purge_checked_.load(std::memory_order_relaxed);
  builder.validity = entry.validity();
  builder.created = entry.created();
  builder.expires = entry.expires();
  builder.status = entry.status();
  builder.last_modified = entry.last_modified();
  builder.content_type = entry.content_type();
  builder.canonical = entry.canonical();
  builder.owner_flags = entry.owner_flags();
  builder.owner_word = entry.owner_word();
  builder.stale_until = entry.stale_until();
  builder.error_until = entry.error_until();
  builder.soft_grace = entry.cold_->soft_grace;
  builder.notes = entry.notes();
  for (const EntryLabel& at : entry.labels()) builder.labels[builder.label_count++] = at.label;
  builder.group_max = entry.cold_->group_max;
  builder.label_mark = entry.cold_->label_mark;
  builder.marker = entry.is_marker();
  for (uint32_t i = 0; i < entry.variant_count(); ++i) {
    const Variant& v = entry.variant_at(i);
    builder.variants_[builder.variant_count_++] = {.coding = v.coding,
                                                   .head = v.head(),
                                                   .date_offset = v.date_offset,
                                                   .head_304 = v.head_304(),
                                                   .date_offset_304 = v.date_offset_304,
                                                   .etag = v.etag(),
                                                   .body = v.body};
  }
  return builder;
}

Entry* EntryBuilder::build(MemoryLedger& ledger) const {
  if ((variant_count_ == 0) != marker || label_count > LABELS_MAX || key.host.size() > KEY_PART_BYTES_MAX ||
      key.target.size() > KEY_PART_BYTES_MAX || content_type.size() > FIELD_BYTES_MAX) {
    return nullptr;
  }
  size_t text = key.host.size() + key.target.size() + content_type.size() + canonical.size() + notes.size();
  for (uint32_t i = 0; i < variant_count_; ++i) {
    text += variants_[i].head.size() + variants_[i].head_304.size() + variants_[i].etag.size();
  }
  const size_t text_at = sizeof(Entry) + variant_count_ * sizeof(Variant);
  const size_t cold_at = line_round(text_at + text);
  const size_t labels_at = cold_at + line_round(sizeof(EntryCold));
  const size_t total = labels_at + line_round(label_count * sizeof(EntryLabel));
  const uint64_t charge = Arena::charge(total);
  if (!ledger.charge_transient(charge)) return nullptr;
  char* memory = static_cast<char*>(ledger.arena().allocate(total));
  if (memory == nullptr) {
    ledger.release_transient(charge);
    return nullptr;
  }
  auto* entry = new (memory) Entry;
  entry->cold_ = new (memory + cold_at) EntryCold;
  entry->cold_->ledger = &ledger;
  entry->cold_->bytes = total;
  entry->cold_->charge = charge;
  if (label_count > 0) entry->cold_->labels = reinterpret_cast<EntryLabel*>(memory + labels_at);
  entry->cold_->label_count = label_count;
  for (uint32_t i = 0; i < label_count; ++i) {
    new (entry->cold_->labels + i) EntryLabel{.label = labels[i], .entry = entry};
  }
  fill_fields(*entry);
  fill_variants(*entry, memory + text_at);
  return entry;
}

void EntryBuilder::fill_fields(Entry& entry) const {
  entry.hash_ = hash;
  entry.generation_ = generation;
  entry.validity_cell_ = validity.cell;
  entry.validity_value_ = validity.value;
  entry.purge_checked_.store(purge_mark, std::memory_order_relaxed);
  entry.host_size_ = static_cast<uint16_t>(key.host.size());
  entry.target_size_ = static_cast<uint16_t>(key.target.size());
  entry.secure_ = key.secure;
  const MonoTime ends = marker ? MonoTime{} : expires;
  entry.expires_.store(ends, std::memory_order_relaxed);
  entry.mortal_.store(ends != MonoTime::never(), std::memory_order_relaxed);
  entry.last_modified_ = last_modified;
  entry.owner_word_ = owner_word;
  entry.owner_flags_ = owner_flags;
  entry.status_ = status;
  entry.cold_->created = created;
  entry.cold_->stale_until.store(stale_until, std::memory_order_relaxed);
  entry.cold_->error_until.store(error_until, std::memory_order_relaxed);
  entry.cold_->soft_grace = soft_grace;
  entry.cold_->group_max = group_max;
  entry.cold_->label_mark = label_mark;
}

void EntryBuilder::fill_variants(Entry& entry, char* text) const {
  Packer packer(text);
  entry.key_data_ = packer.put(key.host);
  packer.put(key.target);
  auto* variants = reinterpret_cast<Variant*>(&entry + 1);
  entry.variant_count_ = static_cast<uint8_t>(variant_count_);
  for (uint32_t i = 0; i < variant_count_; ++i) {
    const VariantSpec& spec = variants_[i];
    spec.body->pin();
    new (&variants[i]) Variant{.head_data = packer.put(spec.head),
                               .head_304_data = packer.put(spec.head_304),
                               .etag_data = packer.put(spec.etag),
                               .body = spec.body,
                               .body_data = spec.body->fd() < 0 ? spec.body->data() : nullptr,
                               .body_size = spec.body->size(),
                               .head_size = static_cast<uint32_t>(spec.head.size()),
                               .head_304_size = static_cast<uint32_t>(spec.head_304.size()),
                               .date_offset = static_cast<uint16_t>(spec.date_offset),
                               .date_offset_304 = static_cast<uint16_t>(spec.date_offset_304),
                               .etag_size = static_cast<uint16_t>(spec.etag.size()),
                               .coding = spec.coding};
  }
  entry.content_type_data_ = packer.put(content_type);
  entry.content_type_size_ = static_cast<uint16_t>(content_type.size());
  entry.cold_->canonical = {packer.put(canonical), canonical.size()};
  entry.cold_->notes = {packer.put(notes), notes.size()};
  for (uint8_t mask = 0; mask < entry.pick_.size(); ++mask) entry.pick_[mask] = smallest_for(mask);
}

// The fewest bytes on the wire; at equal size the plainer coding.
uint8_t EntryBuilder::smallest_for(uint8_t accept_mask) const {
  uint8_t best = PICK_NONE;
  for (uint8_t i = 0; i < variant_count_; ++i) {
    const auto coding = static_cast<uint32_t>(variants_[i].coding);
    if (coding != 0 && (accept_mask >> (coding - 1) & 1) == 0) continue;
    if (best == PICK_NONE || variants_[i].body->size() < variants_[best].body->size()) best = i;
  }
  return best;
}

}  // namespace penstock
