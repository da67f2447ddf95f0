// A span of time for people: "12 ms", "3.2 s", "4 h 3 min", "9 days".
#pragma once

#include "src/base/time.h"

#include <string>

namespace penstock {

[[nodiscard]] std::string duration_text(Duration duration);

}  // namespace penstock
