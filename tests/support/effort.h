// How much of what could go on for ever a test does, given what looks on.
#pragma once

#include "src/base/bytes.h"

#include <cstdint>
#include <cstdlib>

namespace penstock {

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PENSTOCK_UNDER_TSAN 1
#elif __has_feature(address_sanitizer)
#define PENSTOCK_UNDER_ASAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define PENSTOCK_UNDER_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define PENSTOCK_UNDER_ASAN 1
#endif

#if defined(PENSTOCK_UNDER_TSAN)
inline constexpr bool SANITIZED = true;  // all is ten times as slow
inline constexpr int ROUNDS_SHARE = 20;
inline constexpr uint64_t SEEDS_SHARE = 32;
#elif defined(PENSTOCK_UNDER_ASAN)
inline constexpr bool SANITIZED = true;
inline constexpr int ROUNDS_SHARE = 6;
inline constexpr uint64_t SEEDS_SHARE = 12;
#else
inline constexpr bool SANITIZED = false;
inline constexpr int ROUNDS_SHARE = 1;
inline constexpr uint64_t SEEDS_SHARE = 1;
#endif

// So many seeds of a simulator, which has one thread: a share of them under a sanitizer, all without.
constexpr uint64_t simulated_seeds(uint64_t seeds) { return seeds / SEEDS_SHARE; }
// So many rounds of something that has one thread: ThreadSanitizer sees nothing in them, so that few are enough there,
// and AddressSanitizer sees in the first of them what it would see in all.
constexpr int one_threaded_rounds(int rounds) { return rounds / ROUNDS_SHARE; }
// What the environment variable `name` says, a decimal number.
inline uint64_t number_from(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : parse_decimal(text).value_or(otherwise);
}

}  // namespace penstock
