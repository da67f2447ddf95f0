#include "pool/sandbox/identity.h"

#include "src/base/bytes.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>
#include <vector>

namespace penstock {
namespace {

// 61184..65519 is what systemd gives to services with DynamicUser= (systemd uids-gids(7)): no account has them.
// These are high in the range, where the hash of a service name rarely falls.
struct RoleUser {
  std::string_view role;
  const char* user;
  uid_t reserved;
};
constexpr RoleUser ROLE_USERS[] = {
    {"server", "penstock", 65117},        {"logd", "penstock-log", 65118},    {"keyd", "penstock-keys", 65119},
    {"worker", "penstock-worker", 65120}, {"alarm", "penstock-alarm", 65121},
};

Result<RoleIdentity> identity_of(const passwd& pw) {
  if (pw.pw_uid == 0 || pw.pw_gid == 0) return fail(std::string("user ") + pw.pw_name + " is root or has its group");
  return RoleIdentity{{pw.pw_uid, pw.pw_gid}, std::string(pw.pw_name) + " (uid " + std::to_string(pw.pw_uid) + ")"};
}

// getpwnam_r; nothing when there is no such user.
Result<std::optional<RoleIdentity>> find_user(const std::string& name) {
  std::vector<char> buffer(16 * 1024);
  passwd pw{};
  passwd* found = nullptr;
  const int rc = ::getpwnam_r(name.c_str(), &pw, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    // Besides 0, the manual names these as "no such user" of various back ends.
    if (rc == 0 || rc == ENOENT || rc == ESRCH || rc == EBADF || rc == EPERM) return std::optional<RoleIdentity>();
    return fail_errno("look up user " + name, rc);
  }
  auto identity = identity_of(pw);
  if (!identity) return std::unexpected(identity.error());
  return std::optional<RoleIdentity>(std::move(*identity));
}

}  // namespace

Result<RoleIdentity> resolve_identity(std::string_view setting, std::string_view role) {
  if (setting.empty() || setting == "auto") {
    for (const RoleUser& row : ROLE_USERS) {
      if (row.role != role) continue;
      auto user = find_user(row.user);
      if (user && user->has_value()) return std::move(**user);
      return RoleIdentity{{row.reserved, row.reserved},
                          "uid " + std::to_string(row.reserved) + " (reserved; no user " + row.user + ")"};
    }
    return fail("no identity for role " + std::string(role));
  }
  if (const auto number = parse_decimal(setting)) {
    if (*number == 0 || *number > 0xfffffffe) return fail("uid " + std::string(setting) + " is not allowed");
    const auto id = static_cast<uid_t>(*number);
    return RoleIdentity{{id, id}, "uid " + std::to_string(id)};
  }
  auto user = find_user(std::string(setting));
  if (!user) return std::unexpected(user.error());
  if (!user->has_value()) return fail("no such user: " + std::string(setting));
  return std::move(**user);
}

Result<gid_t> resolve_group(std::string_view setting) {
  const std::string name(setting);
  std::optional<uint64_t> number = parse_decimal(setting);
  if (!number) {
    std::vector<char> buffer(64 * 1024);
    group gr{};
    group* found = nullptr;
    const int rc = ::getgrnam_r(name.c_str(), &gr, buffer.data(), buffer.size(), &found);
    if (found == nullptr) return rc == 0 ? fail("no such group: " + name) : fail_errno("look up group " + name, rc);
    number = gr.gr_gid;
  }
  if (*number == 0 || *number > 0xfffffffe) return fail("group " + name + " is not allowed");
  return static_cast<gid_t>(*number);
}

}  // namespace penstock
