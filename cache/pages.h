// Pages of memory, which is what the kernel gives and takes back.
#pragma once

#include <cstddef>

namespace penstock {

constexpr size_t PAGE_BYTES = 4096;

constexpr size_t page_round(size_t bytes) { return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES; }

}  // namespace penstock
