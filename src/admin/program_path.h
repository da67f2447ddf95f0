// Where the programs that belong to penstock lie: the runtimes of workers, penstock-worker and penstock-init.
//
// Beside the binary in the build tree (DIR/pool/runtimes/NAME or in a folder of its kind there, DIR/pool/sandbox/NAME,
// DIR/src/roles/NAME), else where they are installed (DIR/../libexec/penstock/NAME).
#pragma once

#include "src/base/result.h"

#include <string>
#include <string_view>

namespace penstock {

// `executable`: of penstock, "/proc/self/exe" included. The path is absolute. Error: it lies in none of the places.
[[nodiscard]] Result<std::string> program_path(const std::string& executable, std::string_view name);

}  // namespace penstock
