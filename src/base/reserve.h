// Address space by the block, of which only the pages that are used cost memory.
//
// For what is sized once, at the start of a process, and has no other answer to a refusal than to end: the kernel
// refuses where `ulimit -v` or vm.overcommit_memory = 2 counts address space as if it were memory.
#pragma once

#include <cstddef>

namespace penstock {

// Zeroed, private, page-aligned. Where there is none, says how much was wanted and which settings decide, and ends the
// process with exit code 1. Released with munmap(2).
[[nodiscard]] void* reserve_memory(size_t bytes) noexcept;

}  // namespace penstock
