// The command line of penstock-wsgi, as the supervisor writes it.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

struct WsgiOptions {
  std::string module;                         // "package.module"
  std::string callable = "application";       // an attribute of it; dots lead further
  std::string directory;                      // where the module is looked for first; empty: the working directory
  uint32_t threads = 16;                      // calls of the application at a time
  Duration hanging_after = milliseconds(50);  // a request may, after it took too long
};

inline constexpr uint32_t WSGI_THREADS_MAX = 1'024;
inline constexpr uint32_t WSGI_HANGING_MS_MAX = 3'600'000;

// --app MODULE:CALLABLE [--directory DIR] [--threads N] [--hanging-after MILLISECONDS]; without the program's name.
// Error: a sentence that says which option is wrong.
[[nodiscard]] Result<WsgiOptions> read_wsgi_options(const std::vector<std::string>& words);

}  // namespace penstock
