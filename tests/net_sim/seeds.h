// How many seeds the simulator of networks runs.
#pragma once

#include "tests/support/effort.h"

#include <cstdint>

namespace penstock {

inline constexpr uint64_t NET_SIM_SEEDS = SANITIZED ? 400 : 10'000;

}  // namespace penstock
