// How many seeds the simulator of networks runs.
#pragma once

#include "tests/support/effort.h"

#include <cstdint>

namespace penstock {

inline constexpr uint64_t NET_SIM_SEEDS = SANITIZED ? simulated_seeds(1600) : 10'000;

inline constexpr uint64_t HANDOVER_SEEDS = SANITIZED ? simulated_seeds(20) : 100;

inline constexpr uint64_t SILLY_SEEDS = SANITIZED ? simulated_seeds(200) : 1'000;

}  // namespace penstock
