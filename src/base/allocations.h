// How often this thread has asked for memory: operator new of this program counts, then asks malloc.
//
// For the promise that a cached answer allocates nothing: reactors export the count (src/log/counters.def).
// What C libraries take from malloc by themselves is not counted. Under a sanitizer, which brings an operator new
// of its own, the count stays 0.
#pragma once

#include <cstdint>

namespace penstock {

// Allocations by operator new on the calling thread since it began. Linking it in is what makes them counted.
[[nodiscard]] uint64_t allocations_of_this_thread();

}  // namespace penstock
