#include "pool/sandbox/program_list.h"

#include "pool/sandbox/sandbox.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <sys/stat.h>

namespace penstock {

ProgramList ProgramList::of(const std::vector<std::string>& execute_paths) {
  ProgramList list;
  for (const std::string& path : execute_paths) {
    char real[PATH_MAX];
    struct stat info {};
    if (::realpath(path.c_str(), real) == nullptr || ::stat(real, &info) != 0) continue;
    list.entries_.push_back({{real, info.st_dev, info.st_ino}, S_ISDIR(info.st_mode)});
  }
  return list;
}

// A file by its identity, which a second name shares; what lies in a directory by its path.
bool ProgramList::covers(const ProgramFile& file) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    if (entry.directory) return landlock_covers({entry.file.path}, file.path);
    return entry.file.inode == file.inode && entry.file.device == file.device;
  });
}

ProgramList::Verdict ProgramList::judge(const ProgramStart& start, std::string& culprit) const {
  if (!start.readable) return Verdict::UNKNOWN;
  std::vector<ProgramFile> files = start.interpreters;
  if (start.file) files.insert(files.begin(), *start.file);
  const auto found = std::ranges::find_if(files, [&](const ProgramFile& file) { return !covers(file); });
  if (found != files.end()) {
    culprit = found->path;
    return Verdict::NOT_LISTED;
  }
  return start.error != 0 ? Verdict::NO_PROGRAM : Verdict::LISTED;
}

}  // namespace penstock
