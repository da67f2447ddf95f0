#include "pool/supervisor/watched_files.h"

#include <algorithm>
#include <dirent.h>
#include <glob.h>
#include <memory>
#include <sys/stat.h>
#include <utility>

namespace penstock {
namespace {

// Sorted, so that two looks can be compared.
std::vector<std::string> names_in(const std::string& directory, size_t most) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), ::closedir);
  if (open == nullptr) return names;
  while (const dirent* entry = ::readdir(open.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (names.size() == most) break;
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> expand(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  return paths;
}

}  // namespace

void WatchedFiles::watch(std::vector<std::string> patterns, const std::string& directory) {
  std::erase_if(patterns, [&](const std::string& one) { return !one.starts_with('/') && directory.empty(); });
  for (std::string& one : patterns) {
    if (!one.starts_with('/')) one.insert(0, directory + "/");
  }
  if (patterns == patterns_) return;
  patterns_ = std::move(patterns);
  used_.reset();
  seen_.reset();
}

void WatchedFiles::add(const std::string& path, bool follow, size_t depth, State& to) {
  struct stat info {};
  if ((follow ? ::stat(path.c_str(), &info) : ::lstat(path.c_str(), &info)) != 0) return;
  if (S_ISDIR(info.st_mode)) {
    if (depth == DEPTH_MAX) return;
    for (const std::string& name : names_in(path, FILES_MAX)) add(path + "/" + name, false, depth + 1, to);
    return;
  }
  if (to.size() == FILES_MAX) {
    too_many_ = true;
    return;
  }
  to.push_back({path, info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec, static_cast<uint64_t>(info.st_size),
                info.st_ino});
}

WatchedFiles::State WatchedFiles::read() {
  State state;
  too_many_ = false;
  for (const std::string& pattern : patterns_) {
    for (const std::string& path : expand(pattern)) add(path, true, 0, state);
  }
  return state;
}

std::optional<std::string> WatchedFiles::look() {
  State now = read();
  if (!used_) used_ = now;
  std::optional<std::string> changed;
  if (now != *used_ && seen_ == now) {
    const auto [was, is] = std::mismatch(used_->begin(), used_->end(), now.begin(), now.end());
    const bool went = was != used_->end() && std::ranges::find(now, was->path, &File::path) == now.end();
    changed = went || is == now.end() ? was->path : is->path;
    used_ = now;
  }
  seen_ = std::move(now);
  return changed;
}

}  // namespace penstock
