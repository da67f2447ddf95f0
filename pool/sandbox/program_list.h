// ProgramList: which programs a worker may start, as its Landlock rules grant them, for the supervisor to judge by.
//
// Made when the worker is started, with the links resolved as they were then: Landlock's rules hold the files of that
// moment, too. Landlock is what refuses; this list says beforehand what it would refuse, so that it can be told.
#pragma once

#include "pool/sandbox/program_start.h"

#include <string>
#include <vector>

namespace penstock {

class ProgramList {
 public:
  enum class Verdict : uint8_t {
    LISTED,      // it and its interpreters are on the list
    NOT_LISTED,  // it, or an interpreter, is not: `culprit` says which
    NO_PROGRAM,  // execve would fail by itself: nothing is there. Searches along PATH do this all the time
    UNKNOWN,     // the caller could not be looked at
  };

  ProgramList() = default;
  // Paths of files, and of directories with all beneath; what does not exist is left out, as Landlock leaves it.
  [[nodiscard]] static ProgramList of(const std::vector<std::string>& execute_paths);

  [[nodiscard]] Verdict judge(const ProgramStart& start, std::string& culprit) const;
  [[nodiscard]] bool covers(const ProgramFile& file) const;
  // What it was made of, with links resolved.
  struct Entry {
    ProgramFile file;
    bool directory = false;
  };
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace penstock
