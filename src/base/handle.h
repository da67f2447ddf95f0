// Handle{index, generation}: a long-lived reference to a slot of a pool that may be reused.
//
// The generation moves when the slot is freed, so a stale handle finds nothing instead of a
// stranger. 64 bits, so that it travels through an io_uring user_data or a ring unharmed.
#pragma once

#include <compare>
#include <cstdint>

namespace penstock {

struct Handle {
  uint32_t index = UINT32_MAX;
  uint32_t generation = 0;
  constexpr auto operator<=>(const Handle&) const = default;
  [[nodiscard]] constexpr bool valid() const { return index != UINT32_MAX; }
};

}  // namespace penstock
