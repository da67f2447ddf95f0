// FileInfo: what the file system says about one open file, and the policies that decide about it.
//
// Plain data, shared by the reader, the loader and the watch. same_version() is the one test that
// all coherence rests on: two equal readings around a read, taken when neither time stamp is young,
// mean that nobody wrote in between.
#pragma once

#include <compare>
#include <cstdint>

namespace penstock {

enum class FileType : uint8_t { REGULAR, DIRECTORY, SYMLINK, OTHER };

struct FileId {
  uint64_t dev = 0;
  uint64_t ino = 0;  // 0: no such file
  constexpr auto operator<=>(const FileId&) const = default;
};

struct FileInfo {
  FileId id;
  uint64_t size = 0;
  int64_t mtime_ns = 0;  // since the Unix epoch; may be forged by utimensat(2)
  int64_t ctime_ns = 0;  // of the last write or attribute change; cannot be forged
  uint32_t mode = 0;     // permission bits and type as in st_mode
  uint32_t uid = 0;
  uint32_t links = 1;  // names of the inode
  FileType type = FileType::OTHER;
};

// Same inode, same size, same time stamps.
[[nodiscard]] constexpr bool same_version(const FileInfo& a, const FileInfo& b) {
  return a.id == b.id && a.size == b.size && a.mtime_ns == b.mtime_ns && a.ctime_ns == b.ctime_ns;
}

// Same bytes, as far as `now` of the same open descriptor can tell: a ctime that moved is fine where
// something else explains it (a name less since the file was replaced by rename, another owner or
// mode), so that a replaced file goes on being sent as the one version it is. For what is streamed.
[[nodiscard]] constexpr bool same_content(const FileInfo& opened, const FileInfo& now) {
  if (opened.id != now.id || opened.size != now.size || opened.mtime_ns != now.mtime_ns) return false;
  return opened.ctime_ns == now.ctime_ns || opened.links != now.links || opened.mode != now.mode ||
         opened.uid != now.uid;
}

// What a directory held at one time: every name that comes or goes moves its ctime, so two equal ones of a directory
// that was not young mean the same names. id.ino 0: not known.
struct DirectoryVersion {
  FileId id;
  int64_t ctime_ns = 0;
  constexpr bool operator==(const DirectoryVersion&) const = default;
};

// Where files change without an event or a time stamp of this machine's: on other machines, or made up when they are
// read. By fstatfs(2); true where that fails.
[[nodiscard]] bool changes_unseen(int fd);

// fstat(2) of an open descriptor: 0 or an errno.
[[nodiscard]] int read_file_info(int fd, FileInfo& info);
// The same for one name in a directory; a symbolic link is not followed.
[[nodiscard]] int read_file_info_at(int dir_fd, const char* name, FileInfo& info);

// Which symbolic links below a root are followed. None ever leads out of the root.
enum class SymlinkPolicy : uint8_t {
  NONE,   // no link is followed
  OWNER,  // only where the link's owner is also the owner of what it names
  ALL,
};

// A directory that is served. An absolute link target that begins with `path` is taken as relative
// to the root; every other absolute target leads out of it and is refused.
struct RootDir {
  int fd = -1;            // O_PATH or O_RDONLY directory, kept open by the caller
  const char* path = "";  // absolute, without a trailing slash; kept by the caller
};

}  // namespace penstock
