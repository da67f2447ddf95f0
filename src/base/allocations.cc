#include "src/base/allocations.h"

#include "src/base/assert.h"

#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PENSTOCK_OWN_NEW 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PENSTOCK_OWN_NEW 0
#endif
#endif
#ifndef PENSTOCK_OWN_NEW
#define PENSTOCK_OWN_NEW 1
#endif

namespace penstock {
namespace {

thread_local constinit uint64_t allocations = 0;

}  // namespace

uint64_t allocations_of_this_thread() { return allocations; }

}  // namespace penstock

#if PENSTOCK_OWN_NEW

// The forms that all others call by default (C++23 [new.delete]).
void* operator new(std::size_t size) {
  ++penstock::allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  ASSERT(memory != nullptr);  // whoever can live without asks with nothrow
  return memory;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++penstock::allocations;
  return std::malloc(size == 0 ? 1 : size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return operator new(size, std::nothrow); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++penstock::allocations;
  const auto align = static_cast<std::size_t>(alignment);
  void* memory = std::aligned_alloc(align, (size + align - 1) / align * align);
  ASSERT(memory != nullptr);
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

#endif
