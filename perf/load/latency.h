// LatencyCounts: a histogram of times with a relative error of 1/64 at the most. Pure; fixed in size.
#pragma once

#include "src/base/time.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace penstock {

class LatencyCounts {
 public:
  void add(Duration latency) {
    const uint64_t ns = latency.ns < 0 ? 0 : static_cast<uint64_t>(latency.ns);
    ++counts_[index_of(ns)];
    ++total_;
    if (ns > max_) max_ = ns;
  }
  void clear() { *this = {}; }
  [[nodiscard]] uint64_t total() const { return total_; }
  [[nodiscard]] double max_us() const { return static_cast<double>(max_) / 1'000; }
  // The time that `share` of all are not above, in microseconds; 0 without any.
  [[nodiscard]] double percentile_us(double share) const {
    const auto wanted = static_cast<uint64_t>(share * static_cast<double>(total_));
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > wanted || (seen == total_ && total_ != 0)) return static_cast<double>(upper_of(i)) / 1'000;
    }
    return 0;
  }

 private:
  static constexpr uint32_t SUB_BITS = 6;  // 64 steps in each doubling
  static constexpr uint64_t SUBS = 1U << SUB_BITS;
  static constexpr uint32_t DOUBLINGS = 36;  // up to an hour

  static size_t index_of(uint64_t ns) {
    if (ns < SUBS) return ns;
    const auto shift = static_cast<uint32_t>(std::bit_width(ns)) - SUB_BITS - 1;
    const size_t index = (size_t{shift} + 1) * SUBS + (ns >> shift) - SUBS;
    return index < SUBS * DOUBLINGS ? index : SUBS * DOUBLINGS - 1;
  }
  static uint64_t upper_of(size_t index) {
    if (index < SUBS) return index;
    const uint64_t shift = index / SUBS - 1;
    return ((index % SUBS + SUBS + 1) << shift) - 1;
  }

  std::array<uint64_t, SUBS* DOUBLINGS> counts_ = {};
  uint64_t total_ = 0;
  uint64_t max_ = 0;
};

}  // namespace penstock
