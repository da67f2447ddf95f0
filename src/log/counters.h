// Counters: one page of named numbers per reactor, in shared memory that the supervisor owns.
//
// Writer: the one reactor thread (or, for a count kept elsewhere, nobody else). Readers: the
// supervisor, at any time, without asking. Each counter is a 64-bit word changed by a relaxed load
// and a relaxed store: no locked instruction, because there is one writer; no torn read, because
// the word is aligned. Readers see each counter exactly, and no two of them at the same instant.
// Names, kinds and help come from counters.def. Rates per request are for the reader to derive.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

// One number with one writer.
class Counter {
 public:
  void add(uint64_t n = 1) { word_.store(word_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void sub(uint64_t n = 1) { word_.store(word_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed); }
  void set(uint64_t n) { word_.store(n, std::memory_order_relaxed); }
  [[nodiscard]] uint64_t get() const { return word_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> word_{0};
};
static_assert(sizeof(Counter) == 8 && std::atomic<uint64_t>::is_always_lock_free);

// All counters of one reactor; an instance alone in zeroed memory is ready to use.
struct alignas(64) Counters {
#define COUNTER(name, kind, help) Counter name;
#include "src/log/counters.def"
};

enum class CounterKind : uint8_t { TOTAL, GAUGE };
struct CounterInfo {
  std::string_view name;
  CounterKind kind;
  std::string_view help;
};

// The list, in the order of the words in Counters.
inline constexpr auto COUNTER_INFO = std::to_array<CounterInfo>({
#define COUNTER(name, kind, help) {#name, CounterKind::kind, help},
#include "src/log/counters.def"
});
inline constexpr size_t COUNTER_COUNT = COUNTER_INFO.size();

// The words of Counters copied out, index as in COUNTER_INFO. Safe on memory written by a stranger.
using CounterValues = std::array<uint64_t, COUNTER_COUNT>;
[[nodiscard]] inline CounterValues read_counters(const Counters& counters) {
  return {
#define COUNTER(name, kind, help) counters.name.get(),
#include "src/log/counters.def"
  };
}

// A fingerprint of the list (FNV-1a over names and order), so that a page is only read by its own list.
[[nodiscard]] constexpr uint64_t counters_fingerprint() {
  uint64_t h = 0xcbf29ce484222325ULL;
  for (const CounterInfo& info : COUNTER_INFO) {
    for (const char c : info.name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    h = (h ^ 0xffU) * 0x100000001b3ULL;
  }
  return h;
}

}  // namespace penstock
