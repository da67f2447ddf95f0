// KernelAudit: what Landlock denied, as the kernel's audit log tells it (since Linux 6.15) to who reads along.
//
// Owned by the supervisor's Pools, used by its thread. It is one of any number of readers beside auditd, takes nothing
// from anybody, and slows nothing but what is denied: where nothing is, no record is written. The log is the machine's:
// whether it is on is its administrator's word, and only where `enable` says so is it turned on here, and off again at
// the end.
//
// A record comes after the fact, some microseconds later: the process goes on meanwhile. The kernel drops records that
// nobody takes in time; how often that was is counted.
#pragma once

#include "src/admin/audit_record.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"
#include "src/log/journal_reader.h"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock {

struct AccessDenial {
  WallTime when;          // rounded down, by up to 10 ms
  pid_t domain_pid = -1;  // the process that entered the domain; -1: its record was missed
  pid_t pid = -1;         // that tried; -1: the kernel does not tell, as processes are not audited
  std::optional<uid_t> uid;
  std::string denied;  // the rights that were missing: "fs.read_file"
  std::string object;  // what it was about
  // Of the worker, by who reads, as soon as it is known which one: what was inside does not wait.
  uint64_t worker = 0;
  std::vector<InFlightRequest> inside;
};

// The records of one event are put together here. Pure; takes them in any order, with others between them.
class AuditEvents {
 public:
  static constexpr size_t WAITING_MAX = 64;  // more are given away without their calls
  static constexpr size_t DOMAINS_MAX = 4096;
  static constexpr Duration HOLD = milliseconds(10);  // for the record of the call, which may never come

  void take(AuditRecord record, MonoTime now);
  // The next denial that is whole, or was held for long enough.
  [[nodiscard]] std::optional<AccessDenial> next(MonoTime now);
  [[nodiscard]] MonoTime next_deadline() const;
  // Each that is held, and whose worker is not known yet.
  template <typename Fn>
  void each_unknown(Fn&& fn) {
    for (Waiting& one : waiting_) {
      if (one.denial.worker == 0) fn(one.denial);
    }
  }

 private:
  struct Waiting {
    uint64_t serial = 0;
    uint64_t domain = 0;
    MonoTime until;
    AccessDenial denial;
  };
  std::deque<Waiting> waiting_;
  std::map<uint64_t, pid_t> domains_;  // who entered; the kernel's numbers grow
};

class KernelAudit {
 public:
  static constexpr int RECORDS_AT_ONCE = 256;

  // Error: this kernel, or this place in it, does not tell.
  [[nodiscard]] static Result<KernelAudit> open(bool enable);
  KernelAudit(KernelAudit&&) = default;
  KernelAudit& operator=(KernelAudit&&) = default;
  ~KernelAudit();

  [[nodiscard]] int fd() const { return reader_.get(); }
  // Reads what has come, up to RECORDS_AT_ONCE; false: there may be more.
  bool read(MonoTime now);
  [[nodiscard]] AuditEvents& events() { return events_; }
  [[nodiscard]] const AuditEvents& events() const { return events_; }
  [[nodiscard]] uint64_t lost() const { return lost_; }  // times that the kernel had to drop records
  // Why nothing may come, as far as is known; "": the log is on.
  [[nodiscard]] const std::string& silent() const { return silent_; }

 private:
  KernelAudit() = default;
  UniqueFd reader_;
  UniqueFd control_;  // valid: we have turned it on
  AuditEvents events_;
  uint64_t lost_ = 0;
  std::string silent_;
};

}  // namespace penstock
