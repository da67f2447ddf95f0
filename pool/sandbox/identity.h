// Which uid and gid a role gets when the supervisor is root.
//
// Called by the supervisor before it starts a role. Reads the user database, changes nothing (in particular not
// /etc/passwd): where no user exists, a number out of the range that systemd reserves for dynamic users is taken, one
// per role, so that roles cannot signal or trace each other even on a machine without any set-up.
#pragma once

#include "pool/sandbox/sandbox.h"
#include "src/base/result.h"

#include <string>
#include <string_view>

namespace penstock {

struct RoleIdentity {
  SandboxIdentity ids;
  std::string name;  // for status: "penstock (uid 998)" or "uid 61217 (reserved, no user penstock)"
};

// `setting`: "auto", or the name of a user, or a number as digits. `role`: "server", "logd", "keyd", "worker".
// auto: the user penstock (server), penstock-log (logd), penstock-keys (keyd) if it exists, else the reserved number.
// Errors: no such user; user is root.
[[nodiscard]] Result<RoleIdentity> resolve_identity(std::string_view setting, std::string_view role);

// The gid of a group, by name or number. Errors: no such group; it is root's.
[[nodiscard]] Result<gid_t> resolve_group(std::string_view setting);

}  // namespace penstock
