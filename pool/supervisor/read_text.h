// Files of the kernel, which tell no length.
#pragma once

#include "src/base/result.h"

#include <string>

namespace penstock {

// All of the file, or why not, with its path.
[[nodiscard]] Result<std::string> read_text(const std::string& path);

}  // namespace penstock
