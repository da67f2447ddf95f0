// Invariants: charge_ is fixed at creation and taken off exactly once, in destroy(). A body without a
// memfd has memory_ = its own allocation's tail, never null. A memfd body is written through one
// shared mapping or its descriptor; seal() unmaps, then forbids every further writable mapping, write,
// growth and truncation, so that nothing can change it any more, in this process or another.
#include "cache/body.h"

#include "cache/pages.h"
#include "src/base/assert.h"

#include <algorithm>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>

namespace penstock {
namespace {

// No file is larger; leaves room for rounding up.
constexpr uint64_t BYTES_MAX = INT64_MAX / 2;
// What the kernel keeps for a memfd: inode, dentry, file, a mapping. Measured with slabinfo, rounded up.
constexpr uint64_t MEMFD_OVERHEAD = 2048;
// Since Linux 5.1; F_SEAL_WRITE would do as well, but it waits up to 150 ms for pages that somebody
// in the kernel still holds, and with no writable mapping left it forbids nothing more.
constexpr int SEAL_FUTURE_WRITE = 0x0010;

char* map_memfd(int fd, uint64_t size, int protection) {
  void* memory = ::mmap(nullptr, size, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
}

}  // namespace

char* Body::writable() {
  ASSERT(!sealed_);
  char* memory = memory_.load(std::memory_order_relaxed);
  if (memory != nullptr) return memory;
  memory = map_memfd(fd_.get(), size_, PROT_READ | PROT_WRITE);
  memory_.store(memory, std::memory_order_relaxed);
  return memory;
}

bool Body::seal() {
  ASSERT(!sealed_);
  if (auto* sums = const_cast<uint16_t*>(this->sums())) {
    const std::span bytes(reinterpret_cast<const uint8_t*>(memory_.load(std::memory_order_relaxed)), size_);
    const size_t stride = store_.sums_.stride;
    for (size_t at = 0; at < bytes.size(); at += stride)
      *sums++ = store_.sums_.sum(bytes.subspan(at, std::min(stride, bytes.size() - at)));
  }
  if (fd_.valid()) {
    char* memory = memory_.exchange(nullptr, std::memory_order_relaxed);
    if (memory != nullptr) ::munmap(memory, size_);
    if (::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) {
      return false;
    }
  }
  sealed_ = true;
  return true;
}

const char* Body::data() const {
  char* memory = memory_.load(std::memory_order_acquire);
  if (memory != nullptr) return memory;
  ASSERT(sealed_);
  char* mapped = map_memfd(fd_.get(), size_, PROT_READ);
  if (mapped == nullptr) return nullptr;
  if (memory_.compare_exchange_strong(memory, mapped, std::memory_order_acq_rel, std::memory_order_acquire)) {
    return mapped;
  }
  ::munmap(mapped, size_);  // another thread came first
  return memory;
}

const uint16_t* Body::sums() const {
  if (store_.sums_.stride == 0 || fd_.valid()) return nullptr;
  return reinterpret_cast<const uint16_t*>(memory_.load(std::memory_order_relaxed) + size_ + size_ % sizeof(uint16_t));
}

uint32_t Body::sum_stride() const { return store_.sums_.stride; }

size_t Body::arena_bytes() const { return fd_.valid() ? sizeof(Body) : store_.memory_bytes(size_); }

void Body::unpin() const {
  if (pins_.fetch_sub(1, std::memory_order_acq_rel) == 1) store_.destroy(this);
}

BodyStore::BodyStore(MemoryLedger& ledger, const BodyLimits& limits, const BodySums& sums)
    : ledger_(ledger), sums_(sums) {
  ASSERT(sums.stride == 0 || sums.sum != nullptr);
  set_limits(limits);
}

BodyStore::~BodyStore() { ASSERT(bodies_.load(std::memory_order_acquire) == 0); }

void BodyStore::set_limits(const BodyLimits& limits) {
  sendfile_min_.store(limits.sendfile_min, std::memory_order_relaxed);
  memfds_max_.store(limits.memfds_max, std::memory_order_relaxed);
  ledger_.set_transient_max(limits.transient_max);
}

Body* BodyStore::create(uint64_t size) {
  if (size != 0 && size >= sendfile_min_.load(std::memory_order_relaxed)) {
    if (memfds_.fetch_add(1, std::memory_order_relaxed) < memfds_max_.load(std::memory_order_relaxed)) {
      if (Body* body = create_memfd(size)) return body;
    }
    memfds_.fetch_sub(1, std::memory_order_relaxed);
  }
  return create_memory(size);
}

// Of a body in plain memory: itself, its bytes, and its sums at the next even place.
size_t BodyStore::memory_bytes(uint64_t size) const {
  if (sums_.stride == 0) return sizeof(Body) + size;
  const uint64_t strides = (size + sums_.stride - 1) / sums_.stride;
  return sizeof(Body) + size + size % sizeof(uint16_t) + strides * sizeof(uint16_t);
}

Body* BodyStore::create_memory(uint64_t size) {
  if (size > BYTES_MAX) return nullptr;
  const size_t bytes = memory_bytes(size);
  const uint64_t charge = Arena::charge(bytes);
  if (!ledger_.charge_transient(charge)) return nullptr;
  void* memory = ledger_.arena().allocate(bytes);
  if (memory == nullptr) {
    ledger_.release_transient(charge);
    return nullptr;
  }
  bodies_.fetch_add(1, std::memory_order_relaxed);
  return new (memory) Body(*this, size, static_cast<char*>(memory) + sizeof(Body), -1, charge);
}

// Everything is reserved here, so that filling it cannot meet a SIGBUS for lack of memory.
Body* BodyStore::create_memfd(uint64_t size) {
  if (size > BYTES_MAX) return nullptr;
  const uint64_t charge = page_round(size) + MEMFD_OVERHEAD + Arena::charge(sizeof(Body));
  if (!ledger_.charge_transient(charge)) return nullptr;
  UniqueFd fd(::memfd_create("penstock-body", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  void* memory = nullptr;
  if (fd.valid() && ::fallocate(fd.get(), 0, 0, static_cast<off_t>(size)) == 0) {
    memory = ledger_.arena().allocate(sizeof(Body));
  }
  if (memory == nullptr) {
    ledger_.release_transient(charge);
    return nullptr;
  }
  bodies_.fetch_add(1, std::memory_order_relaxed);
  return new (memory) Body(*this, size, nullptr, fd.release(), charge);
}

void BodyStore::destroy(const Body* body) {
  ASSERT(body->table_refs_ == 0);
  if (body->fd_.valid()) {
    char* memory = body->memory_.load(std::memory_order_relaxed);
    if (memory != nullptr) ::munmap(memory, body->size_);
    memfds_.fetch_sub(1, std::memory_order_relaxed);
  }
  ledger_.release_transient(body->charge_);
  const size_t bytes = body->arena_bytes();
  Body* dead = const_cast<Body*>(body);
  dead->~Body();
  ledger_.arena().free(dead, bytes);
  bodies_.fetch_sub(1, std::memory_order_release);
}

}  // namespace penstock
