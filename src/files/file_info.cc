#include "src/files/file_info.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

namespace penstock {
namespace {

FileType type_of(mode_t mode) {
  if (S_ISREG(mode)) return FileType::REGULAR;
  if (S_ISDIR(mode)) return FileType::DIRECTORY;
  if (S_ISLNK(mode)) return FileType::SYMLINK;
  return FileType::OTHER;
}

int64_t to_ns(const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }

void convert(const struct stat& st, FileInfo& info) {
  info.id = {st.st_dev, st.st_ino};
  info.size = static_cast<uint64_t>(st.st_size);
  info.mtime_ns = to_ns(st.st_mtim);
  info.ctime_ns = to_ns(st.st_ctim);
  info.mode = st.st_mode;
  info.uid = st.st_uid;
  info.links = static_cast<uint32_t>(st.st_nlink);
  info.type = type_of(st.st_mode);
}

}  // namespace

bool changes_unseen(int fd) {
  struct statfs fs {};
  if (::fstatfs(fd, &fs) != 0) return true;
  switch (static_cast<uint32_t>(fs.f_type)) {
    case 0x6969:      // NFS
    case 0xFF534D42:  // CIFS
    case 0xFE534D42:  // SMB2
    case 0x517B:      // SMB
    case 0x01021997:  // 9P
    case 0x65735546:  // FUSE, virtiofs
    case 0x00C36400:  // Ceph
    case 0x5346414F:  // AFS
    case 0x73757245:  // Coda
    case 0x01161970:  // GFS2
    case 0x7461636F:  // OCFS2
    case 0x9FA0:      // proc
    case 0x62656572:  // sysfs
    case 0x64626720:  // debugfs
    case 0x74726163:  // tracefs
    case 0x27E0EB:    // cgroup
    case 0x63677270:  // cgroup2
      return true;
    default:
      return false;
  }
}

int read_file_info(int fd, FileInfo& info) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return errno;
  convert(st, info);
  return 0;
}

int read_file_info_at(int dir_fd, const char* name, FileInfo& info) {
  struct stat st {};
  if (::fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  convert(st, info);
  return 0;
}

}  // namespace penstock
