// The version of this build, as in meson.build: "0.1.0".
#pragma once

#include <string_view>

namespace penstock {

[[nodiscard]] std::string_view version();

}  // namespace penstock
