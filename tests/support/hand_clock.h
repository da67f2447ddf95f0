// HandClock: a clock that a test moves by hand.
#pragma once

#include "src/base/clock.h"

#include <atomic>

namespace penstock {

class HandClock final : public Clock {
 public:
  explicit HandClock(MonoTime mono = MonoTime{1'000'000'000}, WallTime wall = WallTime{1'700'000'000'000'000'000})
      : mono_ns_(mono.ns), wall_ns_(wall.ns) {}
  [[nodiscard]] MonoTime now() override { return {mono_ns_.load(std::memory_order_relaxed)}; }
  [[nodiscard]] WallTime wall() override { return {wall_ns_.load(std::memory_order_relaxed)}; }

  // Moves by itself only where a test wants its turns to take time: a little with each reading.
  [[nodiscard]] uint64_t ticks() override {
    if (!ticking_) return 0;
    return static_cast<uint64_t>(mono_ns_.load(std::memory_order_relaxed)) * 3 + (readings_ += 90);
  }
  void set_ticking() { ticking_ = true; }

  void advance(Duration by) {
    mono_ns_.fetch_add(by.ns, std::memory_order_relaxed);
    wall_ns_.fetch_add(by.ns, std::memory_order_relaxed);
  }
  void set_wall(WallTime wall) { wall_ns_.store(wall.ns, std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> mono_ns_;
  std::atomic<int64_t> wall_ns_;
  bool ticking_ = false;
  uint64_t readings_ = 0;
};

}  // namespace penstock
