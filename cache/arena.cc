// Invariants, under mutex_:
// - Every page behind a segment's header belongs to one span. Free spans are maximal: no two neighbours of one
//   kind. FREE ones are backed by memory and counted in free_pages_; RETURNED ones are not.
// - A slab is in partial_ of its class while it has room and is not EVACUATING, in evacuating_ while it is, in no
//   list while it is full. An empty slab is given back at once.
// - committed_ = headers + lent and free pages + objects mapped by themselves; live_ = sum of charge() of what is lent.
// Under AddressSanitizer all that is not lent is poisoned.
#include "cache/arena.h"

#include "cache/pages.h"
#include "src/base/assert.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define PENSTOCK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PENSTOCK_ASAN 1
#endif
#endif
#ifdef PENSTOCK_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, bytes) ((void)(memory), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(memory, bytes) ((void)(memory), (void)(bytes))
#endif

namespace penstock {
namespace {

constexpr size_t SEGMENT_BYTES = 4096 * PAGE_BYTES;
constexpr size_t SMALL_MAX = 16 * 1024;
// Free pages kept for reuse before some are given back to the kernel, and how many are then kept.
constexpr uint64_t FREE_PAGES_MAX = 1024;
constexpr uint64_t FREE_PAGES_KEPT = 512;

// Size classes: steps of 64 bytes to 512, then eight to a doubling: at most 1/8 is lost, 1/16 on average.
constexpr uint32_t class_of(size_t bytes) {
  if (bytes <= 512) return static_cast<uint32_t>((bytes + 63) / 64 - 1);
  const auto doubling = static_cast<uint32_t>(std::bit_width((bytes - 1) >> 9));  // 1 for 513..1024
  const size_t step = size_t{64} << (doubling - 1);
  return 8 * doubling + static_cast<uint32_t>((bytes - 1 - (size_t{512} << (doubling - 1))) / step);
}

constexpr size_t bytes_of_class(uint32_t size_class) {
  if (size_class < 8) return (size_class + 1) * size_t{64};
  const uint32_t doubling = size_class / 8;
  return (size_t{512} << (doubling - 1)) + (size_class % 8 + 1) * (size_t{64} << (doubling - 1));
}

constexpr uint32_t SMALL_CLASSES = class_of(SMALL_MAX) + 1;
static_assert(bytes_of_class(class_of(1)) == 64 && bytes_of_class(class_of(513)) == 576);
static_assert(bytes_of_class(SMALL_CLASSES - 1) == SMALL_MAX);

// Pages of a slab: at least four objects, at least 4 pages where they are small, and the least remainder.
constexpr uint32_t slab_pages(uint32_t size_class) {
  const size_t bytes = bytes_of_class(size_class);
  uint32_t best = 0;
  double best_loss = 1;
  for (uint32_t pages = 4; pages <= 16; ++pages) {
    const size_t total = pages * PAGE_BYTES;
    if (total / bytes < 4) continue;
    const double loss = static_cast<double>(total % bytes) / static_cast<double>(total);
    if (loss + 0.005 < best_loss) {
      best = pages;
      best_loss = loss;
    }
  }
  return best;
}

struct Geometry {
  uint32_t bytes;
  uint32_t pages;
  uint32_t objects;
};

constexpr auto GEOMETRY = [] {
  std::array<Geometry, SMALL_CLASSES> table{};
  for (uint32_t i = 0; i < SMALL_CLASSES; ++i) {
    table[i] = {static_cast<uint32_t>(bytes_of_class(i)), slab_pages(i), 0};
    table[i].objects = static_cast<uint32_t>(table[i].pages * PAGE_BYTES / table[i].bytes);
  }
  return table;
}();
static_assert(std::all_of(GEOMETRY.begin(), GEOMETRY.end(),
                          [](auto& g) { return g.objects >= 4 && g.objects < 0xffff; }));

void* map(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

Arena::Arena() { static_assert(SMALL_CLASSES <= CLASSES && sizeof(Page) == 32); }

Arena::~Arena() {
  ASSERT(live() == 0);
  for (Segment* segment : segments_) {
    ASAN_UNPOISON_MEMORY_REGION(segment, SEGMENT_BYTES);
    ::munmap(segment, SEGMENT_BYTES);
  }
}

uint64_t Arena::charge(size_t bytes) {
  return bytes <= SMALL_MAX ? GEOMETRY[class_of(bytes)].bytes : page_round(bytes);
}

void* Arena::allocate(size_t bytes) {
  ASSERT(bytes > 0);
  const uint64_t cost = charge(bytes);
  if (cost < bytes) return nullptr;
  const size_t pages = cost / PAGE_BYTES;
  void* memory = nullptr;
  if (pages > SPAN_PAGES_MAX) {
    memory = map(cost);
    if (memory != nullptr) committed_.fetch_add(cost, std::memory_order_relaxed);
  } else {
    const std::lock_guard lock(mutex_);
    if (bytes <= SMALL_MAX) {
      memory = allocate_small(class_of(bytes));
    } else if (Page* span = take_span(static_cast<uint32_t>(pages), Kind::SPAN)) {
      memory = memory_of(span);
    }
  }
  if (memory == nullptr) return nullptr;
  live_.fetch_add(cost, std::memory_order_relaxed);
  if (pages <= SPAN_PAGES_MAX) ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
  return memory;
}

void Arena::free(void* memory, size_t bytes) {
  const uint64_t cost = charge(bytes);
  live_.fetch_sub(cost, std::memory_order_relaxed);
  if (cost > SPAN_PAGES_MAX * PAGE_BYTES) {
    ::munmap(memory, cost);
    committed_.fetch_sub(cost, std::memory_order_relaxed);
    return;
  }
  const std::lock_guard lock(mutex_);
  if (bytes <= SMALL_MAX) {
    free_small(static_cast<char*>(memory));
  } else {
    Segment* segment = segment_of(memory);
    const auto offset = static_cast<size_t>(static_cast<char*>(memory) - reinterpret_cast<char*>(segment));
    Page* span = &segment->pages[offset / PAGE_BYTES];
    ASSERT(span->kind == Kind::SPAN && span->pages * PAGE_BYTES == cost);
    give_span(span);
  }
}

// ---- Slabs

void* Arena::allocate_small(uint32_t size_class) {
  const Geometry& geometry = GEOMETRY[size_class];
  Page* slab = partial_[size_class].first;
  if (slab == nullptr) {
    slab = take_span(geometry.pages, Kind::SLAB);
    if (slab == nullptr) return nullptr;
    slab->size_class = static_cast<uint8_t>(size_class);
    slab->used = slab->fresh = 0;
    slab->free_head = NO_OBJECT;
    const auto start = static_cast<uint16_t>(index_of(slab));
    for (uint32_t i = 0; i < geometry.pages; ++i) slab[i].start = start;
    push(partial_[size_class], slab);
  }
  uint16_t object = slab->free_head;
  if (object == NO_OBJECT) object = slab->fresh++;
  char* memory = memory_of(slab) + size_t{object} * geometry.bytes;
  ASAN_UNPOISON_MEMORY_REGION(memory, geometry.bytes);
  if (slab->free_head != NO_OBJECT) std::memcpy(&slab->free_head, memory, sizeof(slab->free_head));
  ASAN_POISON_MEMORY_REGION(memory, geometry.bytes);
  if (++slab->used == geometry.objects) pull(partial_[size_class], slab);
  return memory;
}

void Arena::free_small(char* memory) {
  Segment* segment = segment_of(memory);
  const auto offset = static_cast<size_t>(memory - reinterpret_cast<char*>(segment));
  Page* slab = &segment->pages[segment->pages[offset / PAGE_BYTES].start];
  ASSERT(slab->kind == Kind::SLAB || slab->kind == Kind::EVACUATING);
  const Geometry& geometry = GEOMETRY[slab->size_class];
  const auto object = static_cast<size_t>(memory - memory_of(slab)) / geometry.bytes;
  ASSERT(slab->used > 0 && object < slab->fresh);
  ASAN_UNPOISON_MEMORY_REGION(memory, geometry.bytes);  // it may have been lent shorter than that
  std::memcpy(memory, &slab->free_head, sizeof(slab->free_head));
  ASAN_POISON_MEMORY_REGION(memory, geometry.bytes);
  slab->free_head = static_cast<uint16_t>(object);
  const bool evacuating = slab->kind == Kind::EVACUATING;
  List& list = evacuating ? evacuating_ : partial_[slab->size_class];
  if (slab->used-- == geometry.objects && !evacuating) push(list, slab);
  if (slab->used == 0) {
    pull(list, slab);
    give_span(slab);
  }
}

// ---- Spans

Arena::Page* Arena::take_span(uint32_t pages, Kind kind) {
  Page* span = find_free(pages, Kind::FREE);
  if (span == nullptr) span = find_free(pages, Kind::RETURNED);
  if (span == nullptr) {
    if (!add_segment()) return nullptr;
    span = find_free(pages, Kind::RETURNED);
  }
  const Kind was = span->kind;
  const uint32_t length = span->pages;
  unfile(span);
  if (length > pages) file(span + pages, length - pages, was);
  if (was == Kind::RETURNED) committed_.fetch_add(pages * PAGE_BYTES, std::memory_order_relaxed);
  span->pages = static_cast<uint16_t>(pages);
  span->kind = span[pages - 1].kind = kind;
  return span;
}

// The shortest that is long enough; among the longest whichever was freed last.
Arena::Page* Arena::find_free(uint32_t pages, Kind kind) {
  for (uint32_t length = pages; length <= SPAN_PAGES_MAX + 1; ++length) {
    if (Page* span = free_list(kind, length).first) return span;
  }
  return nullptr;
}

void Arena::give_span(Page* span) {
  ASAN_POISON_MEMORY_REGION(memory_of(span), span->pages * PAGE_BYTES);
  file_joined(span, span->pages, Kind::FREE);
  if (free_pages_ > FREE_PAGES_MAX) return_excess();
}

// Files the pages as free, together with their neighbours of the same kind.
Arena::Page* Arena::file_joined(Page* span, uint32_t pages, Kind kind) {
  Segment* segment = segment_of(span);
  const uint32_t first = index_of(span);
  if (first + pages < PAGES && span[pages].kind == kind) {
    Page* after = span + pages;
    pages += after->pages;
    unfile(after);
  }
  if (first > HEADER_PAGES && segment->pages[first - 1].kind == kind) {
    Page* before = &segment->pages[segment->pages[first - 1].start];
    unfile(before);
    pages += before->pages;
    span = before;
  }
  file(span, pages, kind);
  return span;
}

void Arena::file(Page* span, uint32_t pages, Kind kind) {
  Page& last = span[pages - 1];
  span->pages = last.pages = static_cast<uint16_t>(pages);
  span->start = last.start = static_cast<uint16_t>(index_of(span));
  span->kind = last.kind = kind;
  push(free_list(kind, pages), span);
  if (kind == Kind::FREE) free_pages_ += pages;
}

void Arena::unfile(Page* span) {
  pull(free_list(span->kind, span->pages), span);
  if (span->kind == Kind::FREE) free_pages_ -= span->pages;
}

// Longest first: the fewest calls, and what is left of it can grow together again.
void Arena::return_excess() {
  for (uint32_t length = SPAN_PAGES_MAX + 1; length > 0; --length) {
    while (Page* span = free_list(Kind::FREE, length).first) {
      if (free_pages_ <= FREE_PAGES_KEPT) return;
      const uint32_t pages = span->pages;
      unfile(span);
      ::madvise(memory_of(span), pages * PAGE_BYTES, MADV_DONTNEED);
      committed_.fetch_sub(pages * PAGE_BYTES, std::memory_order_relaxed);
      span = file_joined(span, pages, Kind::RETURNED);
      if (span->pages == PAGES - HEADER_PAGES && segments_.size() > 1) drop_segment(span);
    }
  }
}

// Mapped twice as large as needed and cut to its alignment: that is how a page finds its record.
bool Arena::add_segment() {
  char* memory = static_cast<char*>(map(2 * SEGMENT_BYTES));
  if (memory == nullptr) return false;
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const size_t before = (SEGMENT_BYTES - address % SEGMENT_BYTES) % SEGMENT_BYTES;
  if (before > 0) ::munmap(memory, before);
  ::munmap(memory + before + SEGMENT_BYTES, SEGMENT_BYTES - before);
  auto* segment = reinterpret_cast<Segment*>(memory + before);
  // Huge pages would hold what was given back.
  ::madvise(segment, SEGMENT_BYTES, MADV_NOHUGEPAGE);
  segments_.push_back(segment);
  committed_.fetch_add(HEADER_PAGES * PAGE_BYTES, std::memory_order_relaxed);
  ASAN_POISON_MEMORY_REGION(memory_of(&segment->pages[HEADER_PAGES]), (PAGES - HEADER_PAGES) * PAGE_BYTES);
  file(&segment->pages[HEADER_PAGES], PAGES - HEADER_PAGES, Kind::RETURNED);
  return true;
}

// REQUIRES: `span` is all of its segment, RETURNED and filed.
void Arena::drop_segment(Page* span) {
  Segment* segment = segment_of(span);
  unfile(span);
  std::erase(segments_, segment);
  ASAN_UNPOISON_MEMORY_REGION(segment, SEGMENT_BYTES);
  ::munmap(segment, SEGMENT_BYTES);
  committed_.fetch_sub(HEADER_PAGES * PAGE_BYTES, std::memory_order_relaxed);
}

Arena::List& Arena::free_list(Kind kind, uint32_t pages) {
  return (kind == Kind::FREE ? free_ : returned_)[std::min(pages, SPAN_PAGES_MAX + 1)];
}

// ---- Evacuation

bool Arena::begin_evacuation() {
  const std::lock_guard lock(mutex_);
  for (uint32_t size_class = 0; size_class < SMALL_CLASSES; ++size_class) {
    const uint32_t enough = GEOMETRY[size_class].objects * 7 / 8;
    // One sparse slab alone has nowhere to move to.
    uint32_t sparse = 0;
    for (Page* slab = partial_[size_class].first; slab != nullptr; slab = slab->next) sparse += slab->used < enough;
    if (sparse < 2) continue;
    for (Page* slab = partial_[size_class].first; slab != nullptr;) {
      Page* next = slab->next;
      if (slab->used < enough) {
        pull(partial_[size_class], slab);
        slab->kind = Kind::EVACUATING;
        push(evacuating_, slab);
      }
      slab = next;
    }
  }
  return evacuating_.first != nullptr;
}

bool Arena::evacuating(const void* memory, size_t bytes) const {
  if (bytes > SMALL_MAX) return false;
  const std::lock_guard lock(mutex_);
  const Segment* segment = segment_of(memory);
  const auto offset = static_cast<size_t>(static_cast<const char*>(memory) - reinterpret_cast<const char*>(segment));
  return segment->pages[segment->pages[offset / PAGE_BYTES].start].kind == Kind::EVACUATING;
}

void Arena::end_evacuation() {
  const std::lock_guard lock(mutex_);
  while (Page* slab = evacuating_.first) {
    pull(evacuating_, slab);
    slab->kind = Kind::SLAB;
    push(partial_[slab->size_class], slab);
  }
}

// ---- Pages

void Arena::push(List& list, Page* page) {
  page->prev = nullptr;
  page->next = list.first;
  if (list.first != nullptr) list.first->prev = page;
  list.first = page;
}

void Arena::pull(List& list, Page* page) {
  (page->prev != nullptr ? page->prev->next : list.first) = page->next;
  if (page->next != nullptr) page->next->prev = page->prev;
}

Arena::Segment* Arena::segment_of(const void* address) {
  return reinterpret_cast<Segment*>(reinterpret_cast<uintptr_t>(address) / SEGMENT_BYTES * SEGMENT_BYTES);
}

uint32_t Arena::index_of(const Page* page) { return static_cast<uint32_t>(page - segment_of(page)->pages); }

char* Arena::memory_of(const Page* page) {
  return reinterpret_cast<char*>(segment_of(page)) + size_t{index_of(page)} * PAGE_BYTES;
}

}  // namespace penstock
