#include "src/log/drain/rotation.h"

#include "src/base/bytes.h"
#include "src/log/drain/log_time.h"

#include <algorithm>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

struct PathParts {
  std::string folder;
  std::string name;
};
PathParts split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == path.npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

bool all_digits(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_digit); }

constexpr int COLLISIONS_MAX = 99;

}  // namespace

int64_t period_index(WallTime at, RotatePeriod period, bool utc) {
  if (period == RotatePeriod::NONE) return 0;
  const int64_t seconds = at.unix_seconds();
  const int64_t local = seconds + calendar_time(seconds, utc).offset_s;
  return local / (period == RotatePeriod::HOURLY ? 3600 : 86400);
}

bool is_rotated_name(std::string_view name, std::string_view base) {
  if (name.size() < base.size() + 16 || !name.starts_with(base)) return false;
  name.remove_prefix(base.size());
  if (name[0] != '.' || name[9] != '-' || !all_digits(name.substr(1, 8)) || !all_digits(name.substr(10, 6))) {
    return false;
  }
  name.remove_prefix(16);
  return name.empty() || (name.size() == 3 && name[0] == '-' && all_digits(name.substr(1)));
}

Result<std::string> rotate_away(const std::string& path, WallTime now, bool utc) {
  const std::string stem = path + '.' + compact_time(now.unix_seconds(), utc);
  std::string target = stem;
  for (int i = 1; i <= COLLISIONS_MAX; ++i) {
    if (::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) return target;
    if (errno == EINVAL) {  // a file system without RENAME_NOREPLACE
      struct stat info {};
      if (::lstat(target.c_str(), &info) != 0 && errno == ENOENT) {
        if (::rename(path.c_str(), target.c_str()) == 0) return target;
        return fail_errno("rotate " + path);
      }
    } else if (errno != EEXIST) {
      return fail_errno("rotate " + path);
    }
    target = stem + (i < 10 ? "-0" : "-") + std::to_string(i);
  }
  return fail("rotate " + path + ": a hundred files of this second exist");
}

std::vector<std::string> rotated_files(const std::string& path) {
  const PathParts parts = split(path);
  std::vector<std::string> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(parts.folder.c_str()), ::closedir);
  if (folder == nullptr) return found;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (is_rotated_name(entry->d_name, parts.name))
      found.push_back(path + std::string(entry->d_name).substr(parts.name.size()));
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<uint32_t> prune_rotated(const std::string& path, uint32_t keep) {
  if (keep == 0) return 0;
  const std::vector<std::string> files = rotated_files(path);
  uint32_t removed = 0;
  for (size_t i = 0; i + keep < files.size(); ++i) {
    if (::unlink(files[i].c_str()) != 0 && errno != ENOENT) return fail_errno("remove " + files[i]);
    ++removed;
  }
  return removed;
}

}  // namespace penstock
