#include "src/admin/secure_audit.h"

#include "pool/sandbox/identity.h"
#include "src/admin/role_paths.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

// One who serves: the server, or the workers of a pool.
struct Server {
  std::string name;
  uid_t uid = 0;
  std::vector<gid_t> groups;
  std::vector<std::string> writes;  // what its Landlock domain lets it write
};

bool may_write(const Server& server, const struct stat& info) {
  if (info.st_uid == server.uid) return true;
  const bool in_group = std::find(server.groups.begin(), server.groups.end(), info.st_gid) != server.groups.end();
  if (in_group) return (info.st_mode & S_IWGRP) != 0;
  return (info.st_mode & S_IWOTH) != 0;
}

class Walk {
 public:
  Walk(const std::vector<Server>& servers, SecureAudit& audit) : servers_(servers), audit_(audit) {}

  // The root with all beneath, and whether somebody could put another in its place.
  void root(const std::string& path) {
    for (std::filesystem::path above = std::filesystem::path(path).parent_path(); above.has_relative_path();
         above = above.parent_path()) {
      struct stat info {};
      if (!above_.insert(above.native()).second) continue;
      if (::stat(above.c_str(), &info) == 0 && (info.st_mode & S_ISVTX) == 0) judge(above, info);
    }
    look(path);
    std::error_code error;
    std::filesystem::recursive_directory_iterator at(path, error);
    for (const std::filesystem::recursive_directory_iterator end; !error && at != end; at.increment(error)) {
      if (audit_.looked_at >= AUDIT_ENTRIES_MAX) break;
      look(at->path().native());
    }
    if (error) audit_.unread.push_back(path + ": " + error.message());
    if (audit_.looked_at >= AUDIT_ENTRIES_MAX) audit_.unread.push_back(path + ": too many files");
  }

  [[nodiscard]] bool is_writer(const std::string& who) const {
    return writers_.contains(who) || writers_.contains("everybody");
  }

 private:
  void look(const std::string& path) {
    struct stat info {};
    ++audit_.looked_at;
    if (::stat(path.c_str(), &info) == 0) judge(path, info);  // of a link: what would be served
  }

  void judge(const std::string& path, const struct stat& info) {
    if ((info.st_mode & S_IWOTH) != 0) return add(path, "everybody", false);
    for (const Server& server : servers_) {
      if (may_write(server, info)) add(path, server.name, !landlock_covers(server.writes, path));
    }
  }

  void add(const std::string& path, const std::string& who, bool sandboxed) {
    ++audit_.writable_count;
    writers_.insert(who);
    if (audit_.writable.size() < AUDIT_PATHS_MAX) audit_.writable.push_back({path, who, sandboxed});
  }

  const std::vector<Server>& servers_;
  SecureAudit& audit_;
  std::set<std::string> above_;    // directories above roots that were judged
  std::set<std::string> writers_;  // who could write something
};

}  // namespace

Result<SecureAudit> secure_audit(const Settings& settings, bool as_root, const std::string& executable) {
  SecureAudit audit;
  std::vector<Server> servers;
  if (as_root) {
    auto identity = resolve_identity(settings.server_user, "server");
    if (!identity) return fail("server.user: " + identity.error().message);
    audit.server = identity->name;
    servers.push_back({"server", identity->ids.uid, {identity->ids.gid}, {}});
  } else {
    audit.server = "uid " + std::to_string(::geteuid()) + " (the caller's)";
    servers.push_back({"server", ::geteuid(), {::getegid()}, {}});
  }
  const PoolIds ids(settings);
  for (const PoolSettings& pool : settings.pools) {
    AuditedPool audited{.name = pool.name};
    auto profile = find_worker_profile(settings, pool, ids, as_root, executable);
    if (!profile) {
      audited.error = profile.error().message;
    } else {
      audited.profile = std::move(*profile);
      const WorkerSandbox& sandbox = audited.profile.sandbox;
      audited.syscalls = worker_syscall_count(sandbox.syscalls);
      Server server{"pool " + pool.name, ::geteuid(), {::getegid()}, sandbox.write_paths};
      if (sandbox.identity) {
        server.uid = sandbox.identity->uid;
        server.groups = sandbox.groups;
        server.groups.push_back(sandbox.identity->gid);
      }
      servers.push_back(std::move(server));
    }
    audit.pools.push_back(std::move(audited));
  }
  Walk walk(servers, audit);
  for (const std::string& root : server_read_paths(settings)) walk.root(root);
  for (AuditedPool& pool : audit.pools) {
    if (!pool.error.empty()) continue;
    pool.exposure = exposure_of(pool.profile.sandbox, pool.profile.state, walk.is_writer("pool " + pool.name));
  }
  return audit;
}

}  // namespace penstock
