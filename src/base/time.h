// Points in time and spans of it, as types, so that no number's unit is ever guessed.
//
// All are signed 64-bit nanoseconds. MonoTime counts from an arbitrary start and never jumps:
// deadlines and durations use it. WallTime counts from the Unix epoch: only what is shown to
// people or peers (Date, log lines, mtimes) uses it.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace penstock {

struct Duration {
  int64_t ns = 0;
  constexpr auto operator<=>(const Duration&) const = default;
  [[nodiscard]] constexpr int64_t us() const { return ns / 1'000; }
  [[nodiscard]] constexpr int64_t ms() const { return ns / 1'000'000; }
  [[nodiscard]] constexpr int64_t s() const { return ns / 1'000'000'000; }
};

constexpr Duration nanoseconds(int64_t n) { return {n}; }
constexpr Duration microseconds(int64_t n) { return {n * 1'000}; }
constexpr Duration milliseconds(int64_t n) { return {n * 1'000'000}; }
constexpr Duration seconds(int64_t n) { return {n * 1'000'000'000}; }
constexpr Duration operator+(Duration a, Duration b) { return {a.ns + b.ns}; }
constexpr Duration operator-(Duration a, Duration b) { return {a.ns - b.ns}; }
constexpr Duration operator*(Duration a, int64_t k) { return {a.ns * k}; }
constexpr Duration operator/(Duration a, int64_t k) { return {a.ns / k}; }

// A point on the monotonic clock.
struct MonoTime {
  int64_t ns = 0;
  constexpr auto operator<=>(const MonoTime&) const = default;
  static constexpr MonoTime never() { return {std::numeric_limits<int64_t>::max()}; }
};

constexpr MonoTime operator+(MonoTime t, Duration d) { return {t.ns + d.ns}; }
constexpr MonoTime operator-(MonoTime t, Duration d) { return {t.ns - d.ns}; }
constexpr Duration operator-(MonoTime a, MonoTime b) { return {a.ns - b.ns}; }

// A point on the wall clock, nanoseconds since 1970-01-01T00:00:00Z.
struct WallTime {
  int64_t ns = 0;
  constexpr auto operator<=>(const WallTime&) const = default;
  // Rounded down, before 1970 as well.
  [[nodiscard]] constexpr int64_t unix_seconds() const { return ns / 1'000'000'000 - (ns % 1'000'000'000 < 0 ? 1 : 0); }
};

constexpr WallTime operator+(WallTime t, Duration d) { return {t.ns + d.ns}; }
constexpr Duration operator-(WallTime a, WallTime b) { return {a.ns - b.ns}; }

}  // namespace penstock
