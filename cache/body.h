// Body: the bytes of one entity, immutable once sealed, counted, stored once for all reactors.
// BodyStore: where they are made, and the bounds on how many there may be.
//
// A body is created writable by its owner (the fill), filled, sealed, and from then on only read,
// by any thread. Small ones are plain memory. From BodyLimits::sendfile_min on, each has a memfd of
// its own, so that a transport can send it by sendfile(2)/splice(2) without a copy, and can let go
// of it while the kernel still holds the pages. Creating and freeing may make system calls;
// data(), size(), fd() of a sealed memory body and pin()/unpin() of a shared one make none.
#pragma once

#include "cache/ledger.h"
#include "src/base/unique_fd.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

class BodyStore;

class Body {
 public:
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;

  // Filling. REQUIRES: not sealed; one thread. The whole of size() must be written before seal().
  // Memory to write into; for a memfd body it is mapped at the first call. nullptr where the mapping
  // was refused (then write through fd()).
  [[nodiscard]] char* writable();
  // Makes the body immutable (a memfd is sealed against writes, growth and truncation). Once.
  // False where the kernel refused to seal: the body must not be used.
  [[nodiscard]] bool seal();

  // Reading. REQUIRES: sealed, and a pin or something that holds one.
  // All bytes in memory; a memfd body is mapped at the first call by whichever thread comes first, and
  // stays mapped. nullptr where the mapping was refused. Not null for an empty body.
  [[nodiscard]] const char* data() const;
  [[nodiscard]] std::string_view view() const { return {data(), static_cast<size_t>(size_)}; }

  [[nodiscard]] uint64_t size() const { return size_; }
  // The memfd, or -1 for a body in plain memory. Stays open while pinned; its file offset is unused.
  [[nodiscard]] int fd() const { return fd_.get(); }
  // What BodySums::sum says of each BodySums::stride bytes, the last stride maybe shorter; nullptr where its store
  // makes none, and for a memfd.
  [[nodiscard]] const uint16_t* sums() const;
  [[nodiscard]] uint32_t sum_stride() const;
  // What it costs, metadata included (see MemoryLedger).
  [[nodiscard]] uint64_t charge() const { return charge_; }
  [[nodiscard]] bool sealed() const { return sealed_; }

  // One more holder. REQUIRES: the caller's own pin, or a pinned or borrowed Entry that has it.
  void pin() const { pins_.fetch_add(1, std::memory_order_relaxed); }
  // One holder less; the last one frees it. Any thread.
  void unpin() const;

 private:
  friend class BodyStore;
  friend class CacheTable;
  Body(BodyStore& store, uint64_t size, char* memory, int fd, uint64_t charge)
      : store_(store), size_(size), charge_(charge), fd_(fd), memory_(memory) {}
  ~Body() = default;
  // What it takes in the arena, from `this` on.
  [[nodiscard]] size_t arena_bytes() const;

  BodyStore& store_;
  uint64_t size_;
  uint64_t charge_;
  UniqueFd fd_;
  mutable std::atomic<uint32_t> pins_{1};
  mutable uint32_t table_refs_ = 0;  // entries in the table that hold it; CacheTable's mutex guards it
  bool sealed_ = false;
  mutable std::atomic<char*> memory_;  // its bytes; a memfd's mapping, or nullptr while not mapped
};

struct BodyLimits {
  uint64_t sendfile_min = 128 * 1024;         // from this size on a body is a memfd
  uint64_t transient_max = 64 * 1024 * 1024;  // bytes outside the table; create() refuses beyond
  uint32_t memfds_max = 4096;                 // descriptors it may hold; beyond, larger bodies are plain memory
};

// For a transport that makes checksums in software: sums of a body's bytes, made once when it is sealed (SC13).
struct BodySums {
  uint32_t stride = 0;  // 0: none are made
  uint16_t (*sum)(std::span<const uint8_t> bytes) = nullptr;
};

class BodyStore {
 public:
  BodyStore(MemoryLedger& ledger, const BodyLimits& limits, const BodySums& sums = {});
  BodyStore(const BodyStore&) = delete;
  BodyStore& operator=(const BodyStore&) = delete;
  ~BodyStore();  // REQUIRES: no body is left

  // A writable body of exactly `size` bytes (0 is fine), pinned once for the caller; its bytes are
  // unspecified (plain) or zero (memfd). nullptr at the bound of transient bytes or without memory.
  // Any thread.
  [[nodiscard]] Body* create(uint64_t size);

  // Live: holds for bodies made from now on. Any thread.
  void set_limits(const BodyLimits& limits);

  [[nodiscard]] MemoryLedger& ledger() { return ledger_; }
  [[nodiscard]] uint32_t memfds() const { return memfds_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t bodies() const { return bodies_.load(std::memory_order_relaxed); }

 private:
  friend class Body;
  friend class CacheTable;  // copies bodies into denser memory
  [[nodiscard]] Body* create_memory(uint64_t size);
  [[nodiscard]] size_t memory_bytes(uint64_t size) const;
  [[nodiscard]] Body* create_memfd(uint64_t size);
  void destroy(const Body* body);

  MemoryLedger& ledger_;
  const BodySums sums_;
  std::atomic<uint64_t> sendfile_min_;
  std::atomic<uint32_t> memfds_max_;
  std::atomic<uint32_t> memfds_{0};
  std::atomic<uint64_t> bodies_{0};
};

}  // namespace penstock
