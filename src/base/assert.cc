#include "src/base/assert.h"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace penstock {

void assert_failed(const char* expr, const char* file, int line) noexcept {
  char text[512];
  const int n = std::snprintf(text, sizeof text, "%s:%d: assertion failed: %s\n", file, line, expr);
  if (n > 0) {
    // Nothing can be done about a failed write here; the core and the exit status still tell.
    [[maybe_unused]] const auto written =
        ::write(STDERR_FILENO, text, static_cast<size_t>(n) < sizeof text ? static_cast<size_t>(n) : sizeof text - 1);
  }
  std::abort();
}

}  // namespace penstock
