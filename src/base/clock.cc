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
WallTime RealClock::wall() { return {read_ns(CLOCK_REALTIME)}; }

}  // namespace penstock
