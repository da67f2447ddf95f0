// From HELLO to the sandbox and from its report to READY: what every role does the same way.
#pragma once

#include "pool/sandbox/sandbox.h"
#include "src/admin/role_messages.h"
#include "src/config/tree.h"

#include <string>

namespace penstock {

// The profile of the role that `start` is for: its identity, the paths that `settings` name, death with the
// supervisor. The caller adds keep_fds if it wants others closed.
[[nodiscard]] SandboxProfile role_sandbox(const RoleStart& start, const Settings& settings);

[[nodiscard]] ReadyReport ready_report(const SandboxReport& report, std::string transport);

// Waits for HELLO as a role's first act. Error: the supervisor has gone, or sent something else.
[[nodiscard]] Result<RoleStart> receive_start(Channel& channel);

// The configuration that HELLO or CONFIG brought. The supervisor has checked it: an error is one of ours.
[[nodiscard]] Result<Tree> supervisor_tree(const std::string& text, uint64_t generation);

}  // namespace penstock
