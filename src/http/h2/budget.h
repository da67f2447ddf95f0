// H2Budget: how many frames that carry nothing a peer may still send (RFC 9113 section 10.5). Pure.
//
// It fills at its burst every ten seconds, and a little with every frame that carries something; it is never fuller
// than the burst. So a peer that moves bodies may update windows as often as that takes, and one that only pings,
// resets or opens windows byte by byte runs dry.
#pragma once

#include "src/base/time.h"

#include <algorithm>
#include <cstdint>

namespace penstock {

class H2Budget {
 public:
  explicit H2Budget(uint32_t burst, MonoTime now) : left_(burst), filled_(now) {}

  // False: it is used up.
  [[nodiscard]] bool spend(uint32_t burst, MonoTime now) {
    const int64_t ms = (now - filled_).ms();
    const int64_t gained = static_cast<int64_t>(burst) * std::min<int64_t>(ms, PERIOD_MS) / PERIOD_MS;
    if (gained > 0) {
      earn(burst, gained);
      filled_ = now;
    }
    return --left_ >= 0;
  }
  void earn(uint32_t burst, int64_t frames) { left_ = std::min<int64_t>(burst, left_ + frames); }

 private:
  static constexpr int64_t PERIOD_MS = 10'000;
  int64_t left_;
  MonoTime filled_;
};

}  // namespace penstock
