#include "src/roles/role_users.h"

#include "pool/sandbox/identity.h"

namespace penstock {

ConfigErrors role_user_errors(const Tree& tree, const Tree* before) {
  const Settings& s = tree.settings();
  const struct {
    const char* key;
    const char* role;
    const std::string& user;
  } users[] = {{"server.user", "server", s.server_user},
               {"tls.user", "keyd", s.tls_user},
               {"log.user", "logd", s.log_user},
               {"alarm.user", "alarm", s.alarm_user}};
  ConfigErrors errors;
  for (const auto& [key, role, user] : users) {
    if (user == "auto") continue;  // there is always one
    if (before != nullptr && before->get(key).value_or("") == user) continue;
    if (const auto identity = resolve_identity(user, role); !identity) {
      ConfigError error = tree.place(key);
      error.message = "expected auto, or a user of this system who is not root: " + identity.error().message;
      errors.push_back(std::move(error));
    }
  }
  return errors;
}

}  // namespace penstock
