// The command line of penstock-wsgi, as the supervisor writes it.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace penstock {

struct WsgiOptions {
  std::string module;                    // "package.module"
  std::string callable = "application";  // an attribute of it; dots lead further
  std::string directory;                 // where the module is looked for first; empty: the working directory
  uint32_t threads = 16;                 // calls of the application at a time
  std::vector<std::pair<std::string, std::string>> environment;
};

inline constexpr uint32_t WSGI_THREADS_MAX = 1'024;

// --app MODULE:CALLABLE [--directory DIR] [--threads N] [--env NAME=VALUE]…; without the program's name.
// Error: a sentence that says which option is wrong.
[[nodiscard]] Result<WsgiOptions> parse_wsgi_options(const std::vector<std::string>& words);

}  // namespace penstock
