#include "src/files/read_directory.h"

#include "src/base/unique_fd.h"
#include "src/files/path_walk.h"

#include <cerrno>
#include <dirent.h>
#include <memory>
#include <string>

namespace penstock {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// What a link in the directory names, if it may be served.
bool resolve_link(const RootDir& root, const std::string& path, SymlinkPolicy symlinks, FileInfo& info) {
  if (symlinks == SymlinkPolicy::NONE) return false;
  const UniqueFd target(walk_beneath(root, path, {.symlinks = symlinks, .flags = O_PATH | O_CLOEXEC}));
  return target.valid() && read_file_info(target.get(), info) == 0;
}

}  // namespace

int read_directory(const RootDir& root, const char* path, SymlinkPolicy symlinks, DirectoryList& list) {
  FileInfo self;
  bool walked = false;
  const int fd = open_served(root, path, symlinks, /*cached_only=*/false, self, walked);
  if (fd < 0) return -fd;
  UniqueFd owned(fd);
  if (self.type != FileType::DIRECTORY) return ENOTDIR;
  const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(fd));
  if (dir == nullptr) return errno;
  (void)owned.release();  // closedir closes it
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
    if (!list.add(name, info)) break;
  }
  const int error = list.truncated() ? 0 : errno;
  list.sort();
  return error;
}

}  // namespace penstock
