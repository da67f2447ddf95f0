// control_call: the other end of ControlSocket, for the commands. Blocks.
#pragma once

#include "src/admin/json.h"
#include "src/base/result.h"
#include "src/base/time.h"

#include <string>

namespace penstock {

// Sends `request` to the instance at `path` and returns its answer, which is an object with a member "ok".
// Refuses to speak to a socket that is neither root's nor this user's own (a directory in /tmp can be anybody's).
// Error.code ENOENT or ECONNREFUSED: no instance is running there.
[[nodiscard]] Result<Json> control_call(const std::string& path, const Json& request, Duration timeout);

}  // namespace penstock
