// ASSERT: the answer to a bug. Always on, in every build: a server that has lost an invariant
// must not go on serving; it aborts and the supervisor starts a fresh one.
//
// Never assert what a peer, a worker, a file or a config said: those are Result errors.
#pragma once

namespace penstock {

// Prints "file:line: assertion failed: expr" to stderr by one write(2), then aborts.
[[noreturn]] void assert_failed(const char* expr, const char* file, int line) noexcept;

}  // namespace penstock

#define ASSERT(expr) (__builtin_expect(!!(expr), 1) ? (void)0 : ::penstock::assert_failed(#expr, __FILE__, __LINE__))
