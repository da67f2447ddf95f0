// Arena: the memory of entries and bodies, given back to the kernel when it is free, and movable.
//
// A general allocator under a cache's churn (objects of all sizes that live as long as they are popular) comes to
// hold half as much again as it was asked for: measured in cache/README.md. Here small objects lie in slabs of one
// size class, larger ones in runs of whole pages, and
//   charge(bytes)   is what an object costs, exactly and for ever;
//   overhead()      is what is held beyond the charges: gaps in slabs, free pages kept for reuse, page tables;
//   evacuation      marks slabs with many gaps, so that the owner can move their objects and free them.
// Thread-safe by one mutex: only fills, evictions and upkeep come here. Allocates by mmap(2) in segments of
// 16 MiB, returns free pages by madvise(2); never touches memory it lent.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace penstock {

class Arena {
 public:
  Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();  // REQUIRES: everything was freed

  // `bytes` > 0 of unspecified content, aligned to 64; nullptr where the kernel has no memory.
  [[nodiscard]] void* allocate(size_t bytes);
  // REQUIRES: from allocate() with the same `bytes`.
  void free(void* memory, size_t bytes);

  // What an object of this size costs. Pure.
  [[nodiscard]] static uint64_t charge(size_t bytes);

  [[nodiscard]] uint64_t live() const { return live_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t committed() const { return committed_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t overhead() const {
    const uint64_t live = this->live();
    const uint64_t committed = this->committed();
    return committed > live ? committed - live : 0;
  }

  // Marks the slabs that are less than 7/8 full, where moving their objects would free pages: nothing is
  // allocated there until end_evacuation(). False where there are none.
  bool begin_evacuation();
  // Whether an object should be moved. REQUIRES: it is allocated, with this size.
  [[nodiscard]] bool evacuating(const void* memory, size_t bytes) const;
  void end_evacuation();

 private:
  static constexpr uint32_t PAGES = 4096;          // of a segment
  static constexpr uint32_t SPAN_PAGES_MAX = 256;  // larger objects are mapped by themselves
  static constexpr uint32_t CLASSES = 64;          // at least as many as there are
  enum class Kind : uint8_t { RETURNED, FREE, SPAN, SLAB, EVACUATING };

  // One page's record; a span's is its first page's. 1/128 of the memory.
  struct Page {
    Page* prev;
    Page* next;
    uint16_t pages;      // of the span; also at a free span's last page
    uint16_t start;      // the span's first page, at its last page and at each page of a slab
    uint16_t used;       // slab: objects lent
    uint16_t fresh;      // slab: objects from here on were never lent
    uint16_t free_head;  // slab: first of those given back, NO_OBJECT at the end
    Kind kind;
    uint8_t size_class;
  };
  struct Segment {
    Page pages[PAGES];
  };
  static constexpr uint32_t HEADER_PAGES = sizeof(Segment) / 4096;
  static constexpr uint16_t NO_OBJECT = 0xffff;
  struct List {
    Page* first = nullptr;
  };

  // All REQUIRE mutex_.
  [[nodiscard]] void* allocate_small(uint32_t size_class);
  void free_small(char* memory);
  [[nodiscard]] Page* take_span(uint32_t pages, Kind kind);
  [[nodiscard]] Page* find_free(uint32_t pages, Kind kind);
  void give_span(Page* span);
  Page* file_joined(Page* span, uint32_t pages, Kind kind);
  void file(Page* span, uint32_t pages, Kind kind);
  void unfile(Page* span);
  void return_excess();
  bool add_segment();
  void drop_segment(Page* span);
  [[nodiscard]] List& free_list(Kind kind, uint32_t pages);

  static void push(List& list, Page* page);
  static void pull(List& list, Page* page);
  [[nodiscard]] static Segment* segment_of(const void* address);
  [[nodiscard]] static uint32_t index_of(const Page* page);
  [[nodiscard]] static char* memory_of(const Page* page);

  mutable std::mutex mutex_;
  std::array<List, SPAN_PAGES_MAX + 2> free_;  // by length; the last one holds all longer
  std::array<List, SPAN_PAGES_MAX + 2> returned_;
  std::array<List, CLASSES> partial_;  // slabs with room
  List evacuating_;
  std::vector<Segment*> segments_;
  uint64_t free_pages_ = 0;  // committed, not lent
  std::atomic<uint64_t> live_{0};
  std::atomic<uint64_t> committed_{0};
};

}  // namespace penstock
