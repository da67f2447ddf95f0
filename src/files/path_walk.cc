// Invariants of the walk:
//  - stack_.front() is the root (borrowed); every other descriptor on the stack was opened O_NOFOLLOW
//    in the directory below it, so all of them were beneath the root when they were opened;
//  - ".." pops and is refused at the root; no ".." ever reaches the kernel;
//  - rest_[at_..] is what is still to be walked; a link's target is put in front of it, and
//    `owed_` remembers, per link, where its target ends, for the owner rule.
#include "src/files/path_walk.h"

#include "src/base/unique_fd.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <linux/openat2.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20  // Linux 5.12
#endif

namespace penstock {
namespace {

constexpr size_t LINKS_MAX = 40;   // as the kernel's own
constexpr size_t DEPTH_MAX = 256;  // directories open at once
constexpr size_t REST_MAX = 4 * PATH_MAX;

class Walk {
 public:
  Walk(const RootDir& root, std::string_view path, const WalkOptions& options)
      : root_(root), options_(options), resolve_(options.cached_only ? uint64_t{RESOLVE_CACHED} : 0), rest_(path) {}

  int run() {
    for (;;) {
      next_name();
      const std::string& name = name_;
      if (name.empty()) return finish_on_directory();
      const bool last = at_ == rest_.size();
      int error = 0;
      if (name == "..") {
        if (stack_.empty()) return -EXDEV;
        stack_.pop_back();
        error = settle_owners(top());
      } else if (name == ".") {
        error = settle_owners(top());
      } else if (options_.visitor != nullptr && (error = options_.visitor->before_lookup(top(), name)) != 0) {
        return -error;
      } else if (last) {
        const int fd = open_last(name);
        if (fd != LINK_MET) return fd;
      } else {
        error = enter(name);
      }
      if (error != 0) return -error;
    }
  }

 private:
  static constexpr int LINK_MET = INT_MIN;
  struct Owed {
    size_t rest_after;  // bytes of rest_ that lie behind the link's target
    uint32_t uid;       // the link's owner
  };

  [[nodiscard]] int top() const { return stack_.empty() ? root_.fd : stack_.back().get(); }
  [[nodiscard]] size_t remaining() const { return rest_.size() - at_; }

  // Sets name_ to the next component, or to "" at the end.
  void next_name() {
    while (at_ < rest_.size() && rest_[at_] == '/') ++at_;
    const size_t end = std::min(rest_.find('/', at_), rest_.size());
    name_.assign(rest_, at_, end - at_);
    at_ = end;
    while (at_ < rest_.size() && rest_[at_] == '/') ++at_;
  }

  int open_in_top(const std::string& name, uint64_t flags) const {
    return open_beneath(top(), name.c_str(), flags | O_NOFOLLOW, resolve_);
  }

  // The last component: the opened object, an error, or LINK_MET with rest_ rewritten.
  int open_last(const std::string& name) {
    int opened = open_in_top(name, options_.flags);
    const bool refused_link = opened == -ELOOP;
    if (refused_link) opened = open_in_top(name, O_PATH | O_CLOEXEC);  // the link itself
    if (opened < 0) return opened;
    UniqueFd fd(opened);
    FileInfo info;
    if (const int error = read_file_info(fd.get(), info)) return -error;
    if (info.type == FileType::SYMLINK) {
      const int error = follow(fd.get(), info);
      return error != 0 ? -error : LINK_MET;
    }
    if (refused_link) return -EAGAIN;  // it was a link a moment ago
    int error = check_owners(info);
    if (error == 0 && options_.visitor != nullptr) error = options_.visitor->reached(top(), name.c_str(), fd.get());
    return error != 0 ? -error : fd.release();
  }

  // A component with more behind it: a directory is pushed, a link followed.
  int enter(const std::string& name) {
    const int opened = open_in_top(name, O_PATH | O_CLOEXEC);
    if (opened < 0) return -opened;
    UniqueFd fd(opened);
    FileInfo info;
    if (const int error = read_file_info(fd.get(), info)) return error;
    if (info.type == FileType::SYMLINK) return follow(fd.get(), info);
    if (info.type != FileType::DIRECTORY) return ENOTDIR;
    if (const int error = check_owners(info)) return error;
    if (stack_.size() >= DEPTH_MAX) return ENAMETOOLONG;
    stack_.push_back(std::move(fd));
    return 0;
  }

  // Puts the target of the link in front of what remains.
  int follow(int link_fd, const FileInfo& info) {
    if (options_.symlinks == SymlinkPolicy::NONE || ++links_ > LINKS_MAX) return ELOOP;
    char target[PATH_MAX];
    const ssize_t size = ::readlinkat(link_fd, "", target, sizeof target);
    if (size < 0) return errno;
    if (size == 0 || static_cast<size_t>(size) == sizeof target) return ENAMETOOLONG;
    std::string_view text(target, static_cast<size_t>(size));
    if (options_.symlinks == SymlinkPolicy::OWNER) owed_.push_back({remaining(), info.uid});
    if (text.front() == '/') {
      const std::string_view root = root_.path;
      if (root.empty() || !text.starts_with(root)) return EXDEV;
      text.remove_prefix(root.size());
      if (!text.empty() && text.front() != '/') return EXDEV;
      stack_.clear();
    }
    if (text.size() + remaining() + 1 > REST_MAX) return ENAMETOOLONG;
    while (text.starts_with('/')) text.remove_prefix(1);
    rest_.erase(0, at_);
    at_ = 0;
    if (text.empty()) return settle_owners(top());
    if (!rest_.empty()) rest_.insert(0, 1, '/');
    rest_.insert(0, text);
    return 0;
  }

  // The owner rule for every link whose target has now been reached: it is `info`.
  int check_owners(const FileInfo& info) {
    while (!owed_.empty() && remaining() <= owed_.back().rest_after) {
      if (owed_.back().uid != info.uid) return ELOOP;
      owed_.pop_back();
    }
    return 0;
  }

  int settle_owners(int fd) {
    if (owed_.empty()) return 0;
    FileInfo info;
    if (const int error = read_file_info(fd, info)) return error;
    return check_owners(info);
  }

  // The path ended in a directory that is open already (the root, or a target ending in "..").
  int finish_on_directory() {
    if (const int error = settle_owners(top())) return -error;
    return open_beneath(top(), "", options_.flags, resolve_);
  }

  const RootDir& root_;
  const WalkOptions& options_;
  const uint64_t resolve_;
  std::string rest_;
  std::string name_;
  size_t at_ = 0;
  size_t links_ = 0;
  std::vector<UniqueFd> stack_;
  std::vector<Owed> owed_;
};

}  // namespace

int open_beneath(int dir_fd, const char* path, uint64_t flags, uint64_t resolve) {
  open_how how{};
  how.flags = flags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve;
  if (*path == '\0') {
    path = ".";
    how.flags &= ~uint64_t{O_NOFOLLOW};
  }
  for (;;) {
    const long fd = ::syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno != EINTR) return -errno;
  }
}

int walk_beneath(const RootDir& root, std::string_view path, const WalkOptions& options) {
  constexpr int TRIES = 3;  // -EAGAIN of a component that changed between two looks
  int result = -EAGAIN;
  for (int i = 0; i < TRIES && result == -EAGAIN; ++i) {
    result = Walk(root, path, options).run();
    if (options.cached_only) break;
  }
  return result;
}

namespace {

// The last name of `path`, opened in its directory; no link on the way. Tells of the directory where it can be had.
int open_in_directory(int root_fd, const char* path, uint64_t resolve, DirectoryVersion& version) {
  const char* const slash = std::strrchr(path, '/');
  UniqueFd parent;
  if (slash != nullptr) {
    std::array<char, PATH_MAX> name;
    const size_t size = static_cast<size_t>(slash - path);
    if (size >= name.size()) return -ENAMETOOLONG;
    std::copy_n(path, size, name.begin());
    name[size] = '\0';
    const int opened = open_beneath(root_fd, name.data(), O_PATH | O_DIRECTORY | O_CLOEXEC, resolve);
    if (opened < 0) return opened;
    parent.reset(opened);
  }
  const int directory = slash == nullptr ? root_fd : parent.get();
  FileInfo info;
  if (read_file_info(directory, info) == 0) version = {info.id, info.ctime_ns};
  return open_beneath(directory, slash == nullptr ? path : slash + 1, OPEN_TO_READ, resolve);
}

}  // namespace

int open_served(const RootDir& root, const char* path, SymlinkPolicy symlinks, bool cached_only, FileInfo& info,
                bool& walked, DirectoryVersion* directory) {
  const uint64_t resolve = RESOLVE_NO_SYMLINKS | (cached_only ? uint64_t{RESOLVE_CACHED} : 0);
  int fd = directory != nullptr ? open_in_directory(root.fd, path, resolve, *directory)
                                : open_beneath(root.fd, path, OPEN_TO_READ, resolve);
  walked = fd == -ELOOP && symlinks != SymlinkPolicy::NONE;
  if (walked) {
    fd = walk_beneath(root, path, {.symlinks = symlinks, .cached_only = cached_only});
  }
  if (fd < 0) return fd;
  UniqueFd opened(fd);
  if (const int error = read_file_info(fd, info)) return -error;
  if (info.type != FileType::REGULAR && info.type != FileType::DIRECTORY) return -ENXIO;
  return opened.release();
}

}  // namespace penstock
