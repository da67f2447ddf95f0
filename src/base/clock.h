// Clock: the only place where time is read (a check in scripts/ enforces it).
//
// A reactor reads it once per turn and hands `now` down as a parameter; no lower floor asks again.
// The real clock is RealClock; tests and the simulator move a HandClock (tests/support).
#pragma once

#include "src/base/time.h"

namespace penstock {

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual MonoTime now() = 0;   // CLOCK_MONOTONIC
  [[nodiscard]] virtual WallTime wall() = 0;  // CLOCK_REALTIME
};

// clock_gettime(2) through the vDSO: no system call. Stateless, usable from every thread.
class RealClock final : public Clock {
 public:
  [[nodiscard]] MonoTime now() override;
  [[nodiscard]] WallTime wall() override;
};

}  // namespace penstock
