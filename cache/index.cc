// Invariants:
// - An entry sits in the bucket place_of(hash, count), or somewhere in its overflow chain, once.
// - Growing: the new bucket is filled, then shape_ is published (release), then the old places are
//   cleared. Shrinking: the lower bucket is filled, shape_ published, then the upper one cleared. So a reader
//   that used an old shape_ and found a place already cleared reads the new shape_ afterwards (the clearing
//   store is a release, its load an acquire) and looks again: a miss is only believed under an unchanged shape_.
// - Between filling and clearing an entry stands in two places; both find it, which is right.
#include "cache/index.h"

#include "src/base/assert.h"

#include <bit>
#include <cstdlib>
#include <new>
#include <sys/mman.h>

namespace penstock {
namespace {

constexpr size_t HUGE_PAGE_BYTES = 2 * 1024 * 1024;

}  // namespace

CacheIndex::CacheIndex() { map_segment(0); }

CacheIndex::~CacheIndex() {
  for (uint32_t i = 0; i < buckets(); ++i) {
    for (Bucket* at = bucket_at(i)->next.load(std::memory_order_relaxed); at != nullptr;) {
      Bucket* next = at->next.load(std::memory_order_relaxed);
      free_retired(at);
      at = next;
    }
  }
  for (void* bucket : retired_) free_retired(bucket);
  for (uint32_t i = 0; i < SEGMENTS; ++i) {
    Bucket* segment = segments_[i].load(std::memory_order_relaxed);
    const size_t count = i == 0 ? BASE : size_t{BASE} << (i - 1);
    if (segment != nullptr) ::munmap(segment, count * sizeof(Bucket));
  }
}

void CacheIndex::free_retired(void* bucket) { std::free(bucket); }

uint64_t CacheIndex::word_of(Entry* entry) {
  const auto address = reinterpret_cast<uint64_t>(entry);
  ASSERT((address & ~POINTER_MASK) == 0);  // Linux gives out higher addresses only to who asks for them
  return tag_of(entry->hash_) | address;
}

void CacheIndex::publish_count(uint32_t count) {
  const uint64_t moves = (shape_.load(std::memory_order_relaxed) >> 32) + 1;
  shape_.store(moves << 32 | count, std::memory_order_release);
}

uint32_t CacheIndex::place_of(uint64_t hash, uint32_t count) {
  const uint32_t half = std::bit_floor(count);
  const auto place = static_cast<uint32_t>(hash) & (2 * half - 1);
  return place < count ? place : place - half;
}

CacheIndex::Bucket* CacheIndex::bucket_at(uint32_t index) const {
  const auto segment = static_cast<uint32_t>(std::bit_width(index >> BASE_BITS));
  const uint32_t first = segment == 0 ? 0 : BASE << (segment - 1);
  return segments_[segment].load(std::memory_order_acquire) + (index - first);
}

Entry* CacheIndex::find(const KeyView& key, uint64_t hash) const {
  uint64_t shape = shape_.load(std::memory_order_acquire);
  while (true) {
    for (const Bucket* at = bucket_at(place_of(hash, count_of(shape))); at != nullptr;
         at = at->next.load(std::memory_order_acquire)) {
      for (const auto& slot : at->slots) {
        const uint64_t word = slot.load(std::memory_order_acquire);
        if (((word ^ hash) & ~POINTER_MASK) != 0 || word == 0) continue;
        Entry* entry = entry_of(word);
        prefetch(entry);
        if (entry->hash_ == hash && entry->has_key(key)) return entry;
      }
    }
    const uint64_t again = shape_.load(std::memory_order_acquire);
    if (again == shape) return nullptr;
    shape = again;
  }
}

Entry* CacheIndex::find_by_hash(uint64_t hash) const {
  for (const Bucket* at = bucket_at(place_of(hash, buckets())); at != nullptr;
       at = at->next.load(std::memory_order_relaxed)) {
    for (const auto& slot : at->slots) {
      const uint64_t word = slot.load(std::memory_order_relaxed);
      if (word != 0 && entry_of(word)->hash_ == hash) return entry_of(word);
    }
  }
  return nullptr;
}

std::atomic<uint64_t>& CacheIndex::slot_of(const Entry* entry) const {
  for (Bucket* at = bucket_at(place_of(entry->hash_, buckets())); at != nullptr;
       at = at->next.load(std::memory_order_relaxed)) {
    for (auto& slot : at->slots) {
      const uint64_t word = slot.load(std::memory_order_relaxed);
      if (word != 0 && entry_of(word) == entry) return slot;
    }
  }
  constexpr bool ENTRY_IS_IN_ITS_INDEX = false;
  ASSERT(ENTRY_IS_IN_ITS_INDEX);
  __builtin_unreachable();
}

void CacheIndex::put(Bucket* bucket, uint64_t word) {
  Bucket* last = bucket;
  for (Bucket* at = bucket; at != nullptr; at = at->next.load(std::memory_order_relaxed)) {
    for (auto& slot : at->slots) {
      if (slot.load(std::memory_order_relaxed) != 0) continue;
      slot.store(word, std::memory_order_release);
      return;
    }
    last = at;
  }
  void* memory = std::aligned_alloc(alignof(Bucket), sizeof(Bucket));
  ASSERT(memory != nullptr);
  auto* fresh = new (memory) Bucket{};
  fresh->slots[0].store(word, std::memory_order_relaxed);
  last->next.store(fresh, std::memory_order_release);
  ++overflow_buckets_;
}

void CacheIndex::insert(Entry* entry) {
  put(bucket_at(place_of(entry->hash_, buckets())), word_of(entry));
  if (++entries_ > uint64_t{LOAD} * buckets()) split();
}

void CacheIndex::remove(Entry* entry) {
  slot_of(entry).store(0, std::memory_order_release);
  --entries_;
}

void CacheIndex::swap(Entry* old, Entry* fresh) {
  std::atomic<uint64_t>& slot = slot_of(old);
  slot.store(word_of(fresh), std::memory_order_release);
}

void CacheIndex::split() {
  const uint32_t count = buckets();
  const auto segment = static_cast<uint32_t>(std::bit_width(count >> BASE_BITS));
  if (segment >= SEGMENTS) return;  // 2^31 buckets: from here on chains grow instead
  if (segments_[segment].load(std::memory_order_relaxed) == nullptr) map_segment(segment);
  Bucket* upper = bucket_at(count);
  Bucket* lower = bucket_at(count - std::bit_floor(count));
  for (Bucket* at = lower; at != nullptr; at = at->next.load(std::memory_order_relaxed)) {
    for (auto& slot : at->slots) {
      const uint64_t word = slot.load(std::memory_order_relaxed);
      if (word != 0 && place_of(entry_of(word)->hash_, count + 1) == count) put(upper, word);
    }
  }
  publish_count(count + 1);
  for (Bucket* at = lower; at != nullptr; at = at->next.load(std::memory_order_relaxed)) {
    for (auto& slot : at->slots) {
      const uint64_t word = slot.load(std::memory_order_relaxed);
      if (word != 0 && place_of(entry_of(word)->hash_, count + 1) == count) slot.store(0, std::memory_order_release);
    }
  }
  drop_empty_overflow(lower);
}

void CacheIndex::merge() {
  const uint32_t count = buckets() - 1;
  Bucket* upper = bucket_at(count);
  Bucket* lower = bucket_at(count - std::bit_floor(count));
  for_each_in(count, [&](Entry* entry) { put(lower, word_of(entry)); });
  publish_count(count);
  for (Bucket* at = upper; at != nullptr; at = at->next.load(std::memory_order_relaxed)) {
    for (auto& slot : at->slots) slot.store(0, std::memory_order_release);
  }
  drop_empty_overflow(upper);
}

bool CacheIndex::shrink(uint32_t merges) {
  while (buckets() > BASE && entries_ < uint64_t{LOAD} * buckets() / 2) {
    if (merges-- == 0) return true;
    merge();
  }
  return false;
}

void CacheIndex::drop_empty_overflow(Bucket* bucket) {
  for (std::atomic<Bucket*>* link = &bucket->next;;) {
    Bucket* at = link->load(std::memory_order_relaxed);
    if (at == nullptr) return;
    bool empty = true;
    for (const auto& slot : at->slots) empty = empty && slot.load(std::memory_order_relaxed) == 0;
    if (!empty) {
      link = &at->next;
      continue;
    }
    link->store(at->next.load(std::memory_order_relaxed), std::memory_order_release);
    retired_.push_back(at);
    --overflow_buckets_;
  }
}

// Address space only: pages appear as buckets are used.
void CacheIndex::map_segment(uint32_t segment) {
  const size_t bytes = (segment == 0 ? size_t{BASE} : size_t{BASE} << (segment - 1)) * sizeof(Bucket);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT(memory != MAP_FAILED);
  if (bytes >= HUGE_PAGE_BYTES) ::madvise(memory, bytes, MADV_HUGEPAGE);
  segments_[segment].store(static_cast<Bucket*>(memory), std::memory_order_release);
}

}  // namespace penstock
