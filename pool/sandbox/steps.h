// The steps of enter_sandbox() that have a file of their own. Internal to pool/sandbox; see sandbox.h.
#pragma once

#include "pool/sandbox/sandbox.h"
#include "src/base/result.h"

#include <vector>

namespace penstock {

// Confines files, TCP and signals of this thread and all it starts. Adds three steps to the report.
// REQUIRES: no_new_privs is set. An older kernel is reported, never an Error.
[[nodiscard]] Status landlock_enter(const SandboxProfile& profile, std::vector<SandboxStep>& steps);

// Installs the allow list on every thread. REQUIRES: no_new_privs is set; must be the last step.
[[nodiscard]] Status seccomp_enter(const SandboxProfile& profile, std::vector<SandboxStep>& steps);

}  // namespace penstock
