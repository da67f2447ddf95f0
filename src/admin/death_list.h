// DeathList: the processes that ended as they should not have, and the requests that were inside: `penstock journal
// killers`.
//
// Owned by the supervisor, used by its thread; bounded in records and in requests, and what was cut is counted. Lives
// as long as the supervisor. Never here: finding out what was inside (src/roles/supervisor_deaths.cc).
#pragma once

#include "src/admin/json.h"
#include "src/admin/role_process.h"
#include "src/base/time.h"
#include "src/log/journal_reader.h"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace penstock {

enum class DeathKind : uint8_t {
  SIGNAL,    // killed by a signal that is none of ours
  EXIT,      // exited by itself
  MEMORY,    // the kernel killed it: the pool has reached its memory_max
  SANDBOX,   // it tried what its sandbox forbids
  HANG,      // it did not answer; ended or frozen by us
  OVERDUE,   // a request took longer than request_timeout; ended by us
  PROTOCOL,  // it broke the protocol; ended by us
  STOPPED,   // ended by us for another reason, and not the way it should
};
[[nodiscard]] std::string_view death_kind_name(DeathKind kind);

// What the supervisor did before the end; NOTHING: all else is the process's own doing.
enum class DeathOrder : uint8_t { NOTHING, HANG, OVERDUE, PROTOCOL, INTRUSION, OTHER };
[[nodiscard]] DeathKind death_kind(const RoleExit& end, DeathOrder order, bool out_of_memory);

struct Death {
  uint64_t number = 0;  // given by DeathList, from 1
  WallTime when;
  MonoTime ended;         // the same, for the age of its requests
  bool has_ended = true;  // false: frozen, `end` says nothing
  std::string pool;       // empty: a server process
  uint64_t worker = 0;    // 0: a server process
  pid_t pid = -1;
  Duration age;
  DeathKind kind = DeathKind::EXIT;
  RoleExit end;
  std::string how;                      // "was killed by SIGSEGV"
  std::string cause;                    // why we ended it, where we did
  std::vector<InFlightRequest> inside;  // by start
  uint64_t left_out = 0;                // of the requests inside, by DeathList
  // Numbers of requests that the server named when it reported the worker, and whose records were closed before the
  // end: request_timeout had passed and they were answered 502, or their clients left.
  std::vector<uint64_t> closed;
};

class DeathList {
 public:
  static constexpr size_t DEATHS_MAX = 100;     // with requests, and as many without: neither crowds the other out
  static constexpr size_t REQUESTS_MAX = 1024;  // of one death
  static constexpr size_t REQUESTS_ALL_MAX = 16'384;  // the oldest deaths go first
  static constexpr size_t CLOSED_MAX = 1024;

  void add(Death death);
  [[nodiscard]] const std::deque<Death>& deaths() const { return deaths_; }  // oldest first
  [[nodiscard]] uint64_t forgotten() const { return added_ - deaths_.size(); }

  // {"killers": [newest first…], "forgotten": N}. `pool`: only of that one; "" for all, servers too.
  [[nodiscard]] Json json(std::string_view pool) const;

 private:
  void drop_oldest(bool with_requests);

  std::deque<Death> deaths_;
  uint64_t added_ = 0;
  size_t requests_ = 0;
};

}  // namespace penstock
