// AlarmBook: what was tried in workers that they must not do, by kind: `penstock alarm list`.
//
// A kind is a pool, what was tried (a program's path, the name of a system call, a file) and whether it was only
// learnt. Its first occurrence is an alarm, the others are counted; after a quiet time the next one is an alarm again.
// Owned by the supervisor, used by its thread; pure. Lives as long as the supervisor.
//
// What is tried is the intruder's choice, so the book is bounded twice: a pool has KINDS_OF_POOL kinds, as many of
// accesses, and what goes beyond is one more kind, MORE, which is an alarm as the others are; all pools together have
// KINDS_MAX, of which the one not seen for longest gives way, counted in forgotten().
#pragma once

#include "pool/sandbox/program_start.h"
#include "src/admin/json.h"
#include "src/base/time.h"
#include "src/log/journal_reader.h"

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace penstock {

enum class AlarmKind : uint8_t {
  PROGRAM,  // the start of a program that is not on the pool's list
  CALL,     // a system call that the sandbox forbids
  ACCESS,   // a file, an address or a process that Landlock has kept from it
  AGE,      // a program or a request older than alarm.request_age
  MORE,     // more kinds in one pool than are told apart
  TEST,     // `penstock alarm test`
};
[[nodiscard]] std::string_view alarm_kind_name(AlarmKind kind);

struct Alarm {
  static constexpr size_t REQUESTS_MAX = 64;

  uint64_t number = 0;  // given by the book, from 1
  AlarmKind kind = AlarmKind::CALL;
  bool learnt = false;  // alarm.learn: nobody is told
  std::string pool;
  uint64_t worker = 0;  // 0: none has it
  pid_t pid = -1;       // that tried it: the worker, or a program that it started
  uid_t uid = 0;
  std::string what;    // full path of the program, name of the call; raw bytes
  std::string detail;  // how it was asked for, where that differs; raw bytes
  std::string action;  // what was done: "refused", "the process was killed", …
  WallTime when;
  MonoTime at;
  std::vector<InFlightRequest> inside;  // by start, at most REQUESTS_MAX; of an access also what has left since
  uint64_t left_out = 0;                // of these
  RequestHint hint;                     // of the program that tried it
  bool own_first = false;               // the first of them is the one that the program was started for, as it says
  // Kept by the book and by who delivers.
  uint64_t count = 1;  // occurrences
  WallTime last;
  MonoTime last_at;
  std::string delivery;  // what became of it: "told", "waits", "alarm.exec failed 5 times: …"
};

class AlarmBook {
 public:
  static constexpr size_t KINDS_OF_POOL = 32;
  static constexpr size_t KINDS_MAX = 512;
  static constexpr size_t TEXT_BYTES_MAX = 4096;  // of `what` and of `detail`

  // Books one occurrence. Not null: it is an alarm, to be raised, and the book's copy of it. `repeat`: a kind that was
  // not seen for so long is an alarm again; 0 never.
  Alarm* book(Alarm alarm, Duration repeat);
  [[nodiscard]] Alarm* find(uint64_t number);

  [[nodiscard]] const std::list<Alarm>& alarms() const { return alarms_; }  // last seen first
  [[nodiscard]] uint64_t occurrences() const { return occurrences_; }
  [[nodiscard]] uint64_t forgotten() const { return forgotten_; }

  // {"alarms": [last seen first…], …}. `pool`: only of that one; "" for all.
  [[nodiscard]] Json json(std::string_view pool) const;

 private:
  std::list<Alarm> alarms_;
  uint64_t next_ = 1;
  uint64_t occurrences_ = 0, forgotten_ = 0;
};

// One alarm as JSON: for the control socket, and for alarm.exec on its standard input.
[[nodiscard]] Json alarm_json(const Alarm& alarm);

}  // namespace penstock
