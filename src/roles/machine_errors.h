// What a configuration asks for that this machine has not: users of roles, abilities of the TLS library. Reads the user
// database; supervisor and tools, before anything is started or changed.
#pragma once

#include "src/config/tree.h"

namespace penstock {

// As errors of the configuration. What `before` (or nullptr) has as well is left alone.
//  - `changes_users`: server.user, tls.user, log.user and alarm.user that are no user, or root. Only of use where roles
//    change their user, which they do under root;
//  - tls.groups and tls.certificate_compression that OpenSSL does not know.
[[nodiscard]] ConfigErrors machine_errors(const Tree& tree, const Tree* before, bool changes_users);

}  // namespace penstock
