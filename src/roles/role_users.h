// Which users the configuration names for roles, and whether this system has them. Reads the user database; supervisor
// and tools, before anything is started.
#pragma once

#include "src/config/tree.h"

namespace penstock {

// server.user, tls.user, log.user and alarm.user that are no user, or root: as errors of the configuration. What
// `before` (or nullptr) has as well is left alone. Only of use where roles change their user, which they do under root.
[[nodiscard]] ConfigErrors role_user_errors(const Tree& tree, const Tree* before);

}  // namespace penstock
