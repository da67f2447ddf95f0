#include "src/roles/machine_errors.h"

#include "pool/sandbox/identity.h"
#include "src/tls/handshake_offer.h"

namespace penstock {
namespace {

bool is_news(const Tree& tree, const Tree* before, const char* key) {
  return before == nullptr || before->get(key).value_or("") != tree.get(key).value_or("");
}

void add_error(ConfigErrors& errors, const Tree& tree, const char* key, std::string message) {
  ConfigError error = tree.place(key);
  error.message = std::move(message);
  errors.push_back(std::move(error));
}

void add_user_errors(ConfigErrors& errors, const Tree& tree, const Tree* before) {
  const Settings& s = tree.settings();
  const struct {
    const char* key;
    const char* role;
    const std::string& user;
  } users[] = {{"server.user", "server", s.server_user},
               {"tls.user", "keyd", s.tls_user},
               {"log.user", "logd", s.log_user},
               {"alarm.user", "alarm", s.alarm_user}};
  for (const auto& [key, role, user] : users) {
    if (user == "auto" || !is_news(tree, before, key)) continue;  // for auto there is always one
    if (const auto identity = resolve_identity(user, role); !identity) {
      add_error(errors, tree, key,
                "expected auto, or a user of this system who is not root: " + identity.error().message);
    }
  }
}

// The defaults are known everywhere: most supervisors never ask OpenSSL.
void add_tls_errors(ConfigErrors& errors, const Tree& tree, const Tree* before) {
  const Settings& s = tree.settings();
  if (tree.is_set("tls.groups") && is_news(tree, before, "tls.groups")) {
    if (const auto groups = offer_groups(s.tls_groups); !groups) {
      add_error(errors, tree, "tls.groups", groups.error().message);
    }
  }
  if (is_news(tree, before, "tls.certificate_compression") && !s.tls_certificate_compression.empty()) {
    if (const auto offer = offer_compressions(s.tls_certificate_compression); !offer) {
      add_error(errors, tree, "tls.certificate_compression", offer.error().message);
    }
  }
}

}  // namespace

ConfigErrors machine_errors(const Tree& tree, const Tree* before, bool changes_users) {
  ConfigErrors errors;
  if (changes_users) add_user_errors(errors, tree, before);
  add_tls_errors(errors, tree, before);
  return errors;
}

}  // namespace penstock
