// ProgramBook: the programs that workers run and have run: `penstock alarm programs` and `alarm running`.
//
// A record begins when a program is started and ends when its process does, or when that executes another program.
// Owned by the supervisor, used by its thread; pure, bounded: at most RUNNING_MAX are followed at a time, one more is
// booked as not followed; of those that ended the last ENDED_MAX are kept.
#pragma once

#include "src/admin/json.h"
#include "src/base/time.h"
#include "src/log/journal_reader.h"

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace penstock {

struct ProgramRecord {
  static constexpr size_t REQUESTS_MAX = 8;

  uint64_t number = 0;  // given by the book, from 1
  std::string pool;
  uint64_t worker = 0;
  pid_t pid = -1;
  pid_t parent = -1;
  uid_t uid = 0;      // effective, at the start
  std::string path;   // full, links resolved; raw bytes. "" where it could not be read
  std::string asked;  // as it was given; raw bytes
  WallTime started, ended;
  MonoTime started_at, ended_at;
  bool running = true;
  std::string end;                      // "exited with code 1", "was killed by SIGSEGV", "executed another program"
  std::vector<InFlightRequest> inside;  // of its worker at the start, at most REQUESTS_MAX
  uint64_t left_out = 0;                // of these
  bool own_first = false;               // the first of them is the one that it was started for, as it says
};

class ProgramBook {
 public:
  static constexpr size_t RUNNING_MAX = 4096;
  static constexpr size_t ENDED_MAX = 1000;

  // Gives the record its number. A program of this process that still runs has ended by it. Null: not followed.
  ProgramRecord* start(ProgramRecord record);
  // Nothing where it is not running (any more).
  void end(uint64_t number, std::string how, WallTime when, MonoTime at);

  [[nodiscard]] const std::map<uint64_t, ProgramRecord>& running() const { return running_; }
  [[nodiscard]] const std::deque<ProgramRecord>& ended() const { return ended_; }  // oldest first
  [[nodiscard]] ProgramRecord* find(uint64_t number);
  [[nodiscard]] uint64_t of_process(pid_t pid) const;        // the number of the one that it runs; 0: none
  [[nodiscard]] std::string pool_of(uint64_t worker) const;  // that runs anything; "" where none does
  [[nodiscard]] uint64_t started_total() const { return next_ - 1; }
  [[nodiscard]] uint64_t ended_total() const { return ended_total_; }
  [[nodiscard]] uint64_t not_followed() const { return not_followed_; }

  // {"programs": […], …}: the running ones, oldest first, then the ended, newest first. `pool`: "" for all.
  [[nodiscard]] Json json(std::string_view pool, MonoTime now) const;
  // The running ones of at least that age, oldest first.
  [[nodiscard]] Json running_json(Duration older, MonoTime now) const;

 private:
  void keep(ProgramRecord record);

  std::map<uint64_t, ProgramRecord> running_;
  std::map<pid_t, uint64_t> by_process_;  // of running_
  std::deque<ProgramRecord> ended_;
  uint64_t next_ = 1;
  uint64_t ended_total_ = 0, not_followed_ = 0;
};

}  // namespace penstock
