// NetCounters: named counts of an engine since its start, written by its thread only.
#pragma once

#include "src/net/wire/drop_reason.h"

#include <array>
#include <cstdint>

namespace penstock {

struct NetCounters {
#define COUNTER(name, help) uint64_t name = 0;
#include "src/net/net_counters.def"
#undef COUNTER
  std::array<uint64_t, DROP_REASON_COUNT> drops{};
  [[nodiscard]] uint64_t dropped(DropReason reason) const { return drops[static_cast<size_t>(reason)]; }
};

}  // namespace penstock
