#include "src/files/read_directory.h"

#include "src/base/coding.h"
#include "src/base/unique_fd.h"
#include "src/files/path_walk.h"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <string>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr uint32_t NAMES_MAX = 4096;  // read for their suffixes: about a millisecond

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using OpenDir = std::unique_ptr<DIR, CloseDir>;

// Nothing and an error where it is no directory or cannot be opened.
OpenDir open_directory(const RootDir& root, const char* path, SymlinkPolicy symlinks, FileInfo& self, int& error) {
  bool walked = false;
  const int fd = open_served(root, path, symlinks, /*cached_only=*/false, self, walked);
  error = fd < 0 ? -fd : 0;
  if (fd < 0) return nullptr;
  UniqueFd owned(fd);
  if (self.type != FileType::DIRECTORY) {
    error = ENOTDIR;
    return nullptr;
  }
  OpenDir dir(::fdopendir(fd));
  error = dir == nullptr ? errno : 0;
  if (dir != nullptr) (void)owned.release();  // closedir closes it
  return dir;
}

uint8_t suffix_bits(std::string_view name) {
  uint8_t bits = 0;
  for (const Coding coding : {Coding::GZIP, Coding::BR, Coding::ZSTD}) {
    const std::string_view suffix = coding_suffix(coding);
    // Of any case: there are file systems that find a name in any.
    if (name.size() > suffix.size() && ::strncasecmp(name.end() - suffix.size(), suffix.data(), suffix.size()) == 0) {
      bits |= coding_bit(coding);
    }
  }
  return bits;
}

// What a link in the directory names, if it may be served.
bool resolve_link(const RootDir& root, const std::string& path, SymlinkPolicy symlinks, FileInfo& info) {
  if (symlinks == SymlinkPolicy::NONE) return false;
  const UniqueFd target(walk_beneath(root, path, {.symlinks = symlinks, .flags = O_PATH | O_CLOEXEC}));
  return target.valid() && read_file_info(target.get(), info) == 0;
}

// Whether it could be opened. What owner, group and others all may by its mode is not asked for, which would be half
// of a listing's time: where an access list takes it from the server alone, a name is shown that is refused later.
bool may_be_opened(int dir_fd, const char* name, const FileInfo& info) {
  const bool directory = info.type == FileType::DIRECTORY;
  const uint32_t all = directory ? S_IXUSR | S_IXGRP | S_IXOTH : S_IRUSR | S_IRGRP | S_IROTH;
  return (info.mode & all) == all || ::faccessat(dir_fd, name, directory ? X_OK : R_OK, AT_EACCESS) == 0;
}

}  // namespace

int read_directory(const RootDir& root, const char* path, SymlinkPolicy symlinks, DirectoryList& list) {
  FileInfo self;
  int refused = 0;
  const OpenDir dir = open_directory(root, path, symlinks, self, refused);
  if (dir == nullptr) return refused;
  const int fd = ::dirfd(dir.get());
  std::string link_path;
  for (;;) {
    errno = 0;
    const dirent* found = ::readdir(dir.get());
    if (found == nullptr) break;
    const std::string_view name(found->d_name);
    if (name == "." || name == ".." || (name.front() == '.' && !list.dotfiles())) continue;
    FileInfo info;
    if (read_file_info_at(fd, found->d_name, info) != 0) continue;  // gone meanwhile
    if (info.type == FileType::SYMLINK) {
      link_path.assign(path);
      if (!link_path.empty()) link_path += '/';
      link_path += name;
      if (!resolve_link(root, link_path, symlinks, info)) continue;
    }
    if (info.type != FileType::REGULAR && info.type != FileType::DIRECTORY) continue;
    // What would be refused is not offered.
    if (!list.can_be_asked_for(name) || !may_be_opened(fd, found->d_name, info)) continue;
    if (!list.add(name, info)) break;
  }
  const int error = list.truncated() ? 0 : errno;
  list.sort();
  return error;
}

int read_suffixes(const RootDir& root, const char* path, SymlinkPolicy symlinks, DirectoryVersion& version) {
  FileInfo before;
  int refused = 0;
  const OpenDir dir = open_directory(root, path, symlinks, before, refused);
  if (dir == nullptr) return -refused;
  const int fd = ::dirfd(dir.get());
  uint8_t bits = changes_unseen(fd) ? UINT8_MAX : 0;
  for (uint32_t i = 0; bits != UINT8_MAX; ++i) {
    errno = 0;
    const dirent* found = ::readdir(dir.get());
    if (found == nullptr && errno != 0) return -errno;
    if (found == nullptr) break;
    bits = i == NAMES_MAX ? UINT8_MAX : static_cast<uint8_t>(bits | suffix_bits(found->d_name));
  }
  FileInfo after;
  if (const int error = read_file_info(fd, after)) return -error;
  if (same_version(before, after)) version = {before.id, before.ctime_ns};
  return bits;
}

}  // namespace penstock
