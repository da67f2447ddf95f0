// A command as people write it, as its words.
#pragma once

#include "src/base/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// Cut at blanks and tabs; '...' and "..." keep them, and nothing else has a meaning. Error: a quote is not closed.
[[nodiscard]] Result<std::vector<std::string>> split_words(std::string_view text);

}  // namespace penstock
