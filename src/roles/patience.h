// How long a role waits for its supervisor, it for a role, and either for nothing at all.
#pragma once

#include "src/base/time.h"

namespace penstock {

constexpr Duration SEND_PATIENCE = seconds(5);  // a supervisor that takes nothing for so long is gone
constexpr Duration DRAIN_GRACE = seconds(1);    // a role ends its drain by itself; this is for one that does not
constexpr Duration SERVER_CONFIG_TIMEOUT = seconds(10);  // a large configuration on a loaded machine
constexpr Duration SERVER_START_TIMEOUT = seconds(65);   // longer than a start may take: that ends it first
constexpr Duration WAIT_MAX = seconds(1);                // between two looks around, whatever happens

}  // namespace penstock
