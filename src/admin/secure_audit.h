// What a configuration lets its processes do, and which served paths they could write: `penstock secure audit`.
//
// Looks at the configuration, the user database and the modes of files; speaks to no instance and changes nothing. A
// path counts as writable where owner, group and mode let the identity write it, whatever Landlock would still refuse:
// content shall not hang on one thread. Owners count as writers: they can change the mode.
#pragma once

#include "src/admin/exposure.h"
#include "src/admin/worker_profile.h"
#include "src/base/result.h"
#include "src/config/settings.h"

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

struct AuditedPool {
  std::string name;
  std::string error;  // why it could not be started; the rest is empty then
  WorkerProfile profile;
  size_t syscalls = 0;
  Exposure exposure;
};

struct WritablePath {
  std::string path;
  std::string who;        // "server", "pool shop", "everybody"
  bool sandboxed = true;  // Landlock refuses it all the same, where the kernel has it
};

struct SecureAudit {
  std::string server;  // its identity
  std::vector<AuditedPool> pools;
  std::vector<WritablePath> writable;  // at most AUDIT_PATHS_MAX
  uint64_t writable_count = 0;
  uint64_t looked_at = 0;
  std::vector<std::string> unread;  // roots, or parts of them, that could not be looked at
};

inline constexpr size_t AUDIT_PATHS_MAX = 1'000;
inline constexpr uint64_t AUDIT_ENTRIES_MAX = 10'000'000;  // of all roots; beyond it `unread` says so

// `executable`: of penstock, beside which the runtimes lie. Error: the server's user does not exist.
[[nodiscard]] Result<SecureAudit> secure_audit(const Settings& settings, bool as_root, const std::string& executable);

}  // namespace penstock
