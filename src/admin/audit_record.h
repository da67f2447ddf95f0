// AuditRecord: what one record of the kernel's audit log says of an access that Landlock denied, out of its text.
//
// The kernel writes one event as several records with one serial: what was denied (ACCESS); once for each domain, who
// entered it (DOMAIN); and, where the process is audited, the call that was made (SYSCALL). All text is the kernel's,
// but names in it are whatever a process chose: they come quoted or in hexadecimal. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace penstock {

// Types of records: linux/audit.h, of which that of Debian 12 does not know the last two.
inline constexpr uint16_t AUDIT_RECORD_SYSCALL = 1300;
inline constexpr uint16_t AUDIT_RECORD_END = 1320;  // of an event
inline constexpr uint16_t AUDIT_RECORD_LANDLOCK_ACCESS = 1423;
inline constexpr uint16_t AUDIT_RECORD_LANDLOCK_DOMAIN = 1424;

struct AuditRecord {
  uint16_t type = 0;
  int64_t unix_ms = 0;  // when the event began, as coarse as the kernel's tick
  uint64_t serial = 0;  // of the event
  uint64_t domain = 0;  // ACCESS, DOMAIN
  std::string denied;   // ACCESS: the rights that were missing: "fs.read_file,fs.truncate"
  std::string object;   // ACCESS: a path, raw bytes; "ADDRESS port N"; "process N"; "": it says nothing more
  bool gone = false;    // DOMAIN: nobody is in it any more
  pid_t pid = -1;       // DOMAIN: that entered it; SYSCALL: that made the call
  std::optional<uid_t> uid;
};

// Nothing: another type, or a text that is not one of its records.
[[nodiscard]] std::optional<AuditRecord> parse_audit_record(uint16_t type, std::string_view text);

}  // namespace penstock
