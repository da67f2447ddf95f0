// How many seeds a simulator runs, and whether a sanitizer looks on, which makes all of it ten times as slow.
#pragma once

#include <cstdint>

namespace penstock {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool SANITIZED = true;
#else
inline constexpr bool SANITIZED = false;
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool SANITIZED = true;
#else
inline constexpr bool SANITIZED = false;
#endif

inline constexpr uint64_t NET_SIM_SEEDS = SANITIZED ? 400 : 10'000;

}  // namespace penstock
