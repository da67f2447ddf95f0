#include "src/base/clock.h"

#include <ctime>

namespace penstock {
namespace {

int64_t read_ns(clockid_t id) {
  timespec ts{};
  ::clock_gettime(id, &ts);  // cannot fail for these two ids (clock_gettime(2))
  return static_cast<int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}

}  // namespace

MonoTime RealClock::now() { return {read_ns(CLOCK_MONOTONIC)}; }
uint64_t RealClock::ticks() {
#ifdef __x86_64__
  return __builtin_ia32_rdtsc();
#else
  return static_cast<uint64_t>(read_ns(CLOCK_MONOTONIC));
#endif
}

void TurnClock::rate(MonoTime now, uint64_t ticks) {
  const auto ns = static_cast<uint64_t>((now - rated_at_).ns);
  const uint64_t passed = ticks - rated_ticks_;
  const bool first = rated_at_ == MonoTime{};
  rated_at_ = now;
  rated_ticks_ = ticks;
  // From 1/16 to 256 ticks a nanosecond, over less than an hour: what no counter of a processor leaves.
  const bool sane = !first && ns < (uint64_t{1} << 39) && passed >= ns / 16 && passed <= ns * 256;
  ns_per_tick_ = sane && passed > 0 ? (ns << SHIFT) / passed : 0;
  passed_max_ = ns_per_tick_ == 0 ? 0 : (static_cast<uint64_t>(TURN_MAX.ns) << SHIFT) / ns_per_tick_;
}

WallTime RealClock::wall() { return {read_ns(CLOCK_REALTIME)}; }

}  // namespace penstock
