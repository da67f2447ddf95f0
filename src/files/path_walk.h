// Opening beneath a root: one openat2(2) where no symbolic link is met, else a walk by component.
//
// The walk exists because the kernel has no "follow links whose owner matches": it opens every
// component O_NOFOLLOW beneath the one before, reads links itself and keeps the stack of opened
// directories, so that ".." in a link's target can never climb above the root. Blocking unless
// `cached_only`; any thread. It never opens a magic link of procfs, never follows one.
#pragma once

#include "src/files/file_info.h"

#include <cstdint>
#include <fcntl.h>
#include <string_view>

namespace penstock {

// How files are opened that are to be read: O_NONBLOCK so that a FIFO cannot hold us.
inline constexpr uint64_t OPEN_TO_READ = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

// openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | `resolve`: a descriptor or -errno.
// "" opens `dir_fd` itself anew.
[[nodiscard]] int open_beneath(int dir_fd, const char* path, uint64_t flags, uint64_t resolve);

// Accompanies a walk. Descriptors are lent for the length of the call. Not 0 ends the walk with that errno.
class WalkVisitor {
 public:
  virtual ~WalkVisitor() = default;
  // Told of every name before it is looked up, in order.
  virtual int before_lookup(int dir_fd, std::string_view name) = 0;
  // The last component was found: `fd` is what `name` is in `dir_fd`. Not called where the path ends
  // in a directory that the walk had open already (the root, a target ending in "..").
  virtual int reached(int dir_fd, const char* name, int fd) = 0;
};

struct WalkOptions {
  SymlinkPolicy symlinks = SymlinkPolicy::NONE;
  uint64_t flags = OPEN_TO_READ;  // for the last component; O_NOFOLLOW is added
  bool cached_only = false;       // -EAGAIN instead of waiting for a disk
  WalkVisitor* visitor = nullptr;
};

// A descriptor of what `path` names beneath `root`, links followed as the policy allows, or -errno:
// ELOOP, EXDEV as in FileOp. `path` as in FileOp.
[[nodiscard]] int walk_beneath(const RootDir& root, std::string_view path, const WalkOptions& options);

// The whole of FileReader's OPEN: the direct way, else the walk; checks the type (ENXIO) and fills
// `info`. `walked` is set where a link was met. `directory`, where it is wanted, tells the version of the directory
// that has the name, before the look-up; it stays as it is where links lead there.
[[nodiscard]] int open_served(const RootDir& root, const char* path, SymlinkPolicy symlinks, bool cached_only,
                              FileInfo& info, bool& walked, DirectoryVersion* directory = nullptr);

}  // namespace penstock
