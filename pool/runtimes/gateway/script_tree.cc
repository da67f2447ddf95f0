#include "pool/runtimes/gateway/script_tree.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
namespace {

// errno ENOSYS: the sandbox has no openat2.
UniqueFd open_below(const UniqueFd& root, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  int fd = -1;
  do {  // EAGAIN: something was renamed meanwhile, and ".." could not be judged
    fd = static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  return UniqueFd(fd);
}

}  // namespace

std::string_view FoundScript::name() const { return std::string_view(below_root).substr(below_root.rfind('/') + 1); }

std::string_view FoundScript::extension() const {
  const std::string_view file = name();
  const size_t dot = file.rfind('.');
  return dot == std::string_view::npos ? std::string_view{} : file.substr(dot + 1);
}

Result<ScriptTree> ScriptTree::open(const std::string& root) {
  ScriptTree tree;
  tree.root_ = root;
  tree.directory_.reset(::open(root.empty() ? "/" : root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!tree.directory_.valid()) return fail_errno("open " + root);
  return tree;
}

std::optional<FoundScript> ScriptTree::find(std::string_view path) const {
  bool directory = false;
  return walk(path, directory);
}

bool ScriptTree::leads_to_directory(std::string_view path) const {
  while (path.ends_with('/')) path.remove_suffix(1);
  bool directory = false;
  return !walk(path, directory) && directory;
}

std::optional<FoundScript> ScriptTree::walk(std::string_view path, bool& directory) const {
  if (path.find('\0') != std::string_view::npos || path.size() > 4'095) return std::nullopt;
  std::string walked;
  UniqueFd parent;  // without openat2: what `walked` led to before its last name
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::string_view name = path.substr(0, path.find('/'));
    if (name.empty() || name.front() == '.') return std::nullopt;
    walked.append("/").append(name);
    path.remove_prefix(name.size());
    struct stat info {};
    if (!look(walked, path.empty(), parent, info)) return std::nullopt;
    if (S_ISREG(info.st_mode)) return FoundScript{.below_root = walked, .path_info = std::string(path)};
    if (!S_ISDIR(info.st_mode)) return std::nullopt;
  }
  directory = true;
  return std::nullopt;
}

bool ScriptTree::look(const std::string& walked, bool last, UniqueFd& parent, struct stat& info) const {
  if (!walks_) {
    const UniqueFd here = open_below(directory_, walked.substr(1));
    if (here.valid()) return ::fstat(here.get(), &info) == 0;
    if (errno != ENOSYS) return false;
    walks_ = true;
  }
  // Name by name, and no link is followed at all.
  const int above = parent.valid() ? parent.get() : directory_.get();
  const char* const name = walked.c_str() + walked.rfind('/') + 1;
  if (::fstatat(above, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return false;
  if (last || !S_ISDIR(info.st_mode)) return true;
  parent = UniqueFd(::openat(above, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC));
  return parent.valid();
}

}  // namespace penstock
