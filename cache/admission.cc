// A word: identity:32 | count:8 | start:24. start is in ticks of 16 ms, modulo 2^24 (74 hours): a
// record of exactly that age could be taken for a fresh one, and admit one key too early.
// Invariant: 0 is an empty word (a count is never 0).
#include "cache/admission.h"

#include <algorithm>
#include <bit>

namespace penstock {
namespace {

constexpr uint32_t START_MASK = 0xff'ffff;
constexpr int64_t TICK_NS = 16'000'000;
constexpr uint32_t COUNT_MAX = 255;

constexpr uint32_t tick_of(int64_t ns) {
  return static_cast<uint32_t>(static_cast<uint64_t>(ns / TICK_NS)) & START_MASK;
}

struct SeenKey {
  uint32_t identity;
  uint32_t count;
  uint32_t start;
  static constexpr SeenKey of(uint64_t word) {
    return {static_cast<uint32_t>(word >> 32), static_cast<uint32_t>(word >> 24) & 0xff,
            static_cast<uint32_t>(word) & START_MASK};
  }
  [[nodiscard]] constexpr uint64_t word() const { return uint64_t{identity} << 32 | uint64_t{count} << 24 | start; }
  [[nodiscard]] constexpr uint32_t age(uint32_t tick) const { return (tick - start) & START_MASK; }
};

constexpr uint64_t pack(const Admission::Policy& policy) {
  const auto ticks = static_cast<uint64_t>(std::clamp<int64_t>(policy.window.ns / TICK_NS, 1, START_MASK / 2));
  return uint64_t{std::min(policy.hits, COUNT_MAX)} << 32 | ticks;
}

}  // namespace

Admission::Admission(uint32_t keys)
    : sets_(std::make_unique<Set[]>(std::bit_ceil(std::max(keys, 8u)) / 8)),
      mask_(std::bit_ceil(std::max(keys, 8u)) / 8 - 1),
      policy_(pack(Policy{})) {}

Admission::Answer Admission::miss(uint64_t hash, MonoTime now) {
  const uint64_t policy = policy_.load(std::memory_order_relaxed);
  const auto hits = static_cast<uint32_t>(policy >> 32);
  const auto window = static_cast<uint32_t>(policy);
  if (hits <= 1) return {hits == 1, 0};
  const auto identity = static_cast<uint32_t>(hash >> 32);
  const uint32_t tick = tick_of(now.ns);
  Set& set = sets_[hash & mask_];
  while (true) {
    std::atomic<uint64_t>* place = nullptr;
    uint64_t place_word = 0;
    uint32_t place_age = 0;
    for (std::atomic<uint64_t>& slot : set.words) {
      const uint64_t word = slot.load(std::memory_order_relaxed);
      const SeenKey record = SeenKey::of(word);
      const bool same = record.identity == identity && word != 0;
      const uint32_t age = word == 0 ? START_MASK : record.age(tick);
      if (place == nullptr || same || age > place_age) {
        place = &slot;
        place_word = word;
        place_age = age;
      }
      if (same) break;
    }
    const SeenKey old = SeenKey::of(place_word);
    const bool counting = place_word != 0 && old.identity == identity && old.age(tick) <= window;
    const SeenKey fresh =
        counting ? SeenKey{identity, std::min(old.count + 1, COUNT_MAX), old.start} : SeenKey{identity, 1, tick};
    // Lost to another reactor: it may have counted the same key.
    if (!place->compare_exchange_weak(place_word, fresh.word(), std::memory_order_relaxed)) continue;
    return {fresh.count >= hits, fresh.count};
  }
}

Admission::Answer Admission::peek(uint64_t hash, MonoTime now) const {
  const uint64_t policy = policy_.load(std::memory_order_relaxed);
  const auto hits = static_cast<uint32_t>(policy >> 32);
  if (hits <= 1) return {hits == 1, 0};
  for (const std::atomic<uint64_t>& slot : sets_[hash & mask_].words) {
    const uint64_t word = slot.load(std::memory_order_relaxed);
    const SeenKey record = SeenKey::of(word);
    if (word == 0 || record.identity != static_cast<uint32_t>(hash >> 32)) continue;
    if (record.age(tick_of(now.ns)) > static_cast<uint32_t>(policy)) break;
    return {record.count + 1 >= hits, record.count + 1};
  }
  return {false, 1};
}

void Admission::set_policy(const Policy& policy) { policy_.store(pack(policy), std::memory_order_relaxed); }

Admission::Policy Admission::policy() const {
  const uint64_t policy = policy_.load(std::memory_order_relaxed);
  return {static_cast<uint32_t>(policy >> 32), Duration{static_cast<int64_t>(policy & 0xffff'ffff) * TICK_NS}};
}

}  // namespace penstock
