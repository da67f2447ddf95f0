#include "src/log/drain/log_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {

Result<LogFile> LogFile::open(const std::string& path) {
  LogFile file;
  file.path_ = path;
  file.fd_.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640));
  if (!file.fd_.valid()) return fail_errno("open " + path);
  struct stat info {};
  if (::fstat(file.fd_.get(), &info) != 0) return fail_errno("fstat " + path);
  if (S_ISDIR(info.st_mode)) return fail("open " + path + ": it is a directory");
  file.regular_ = S_ISREG(info.st_mode);
  file.device_ = info.st_dev;
  file.inode_ = info.st_ino;
  file.modified_ = {info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec};
  if (file.regular_ && ::flock(file.fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return fail(path + ": another process writes this log", EWOULDBLOCK);
    if (errno != ENOLCK && errno != EOPNOTSUPP) return fail_errno("lock " + path);
  }
  return file;
}

uint64_t LogFile::size() const {
  struct stat info {};
  if (!regular_ || ::fstat(fd_.get(), &info) != 0) return 0;
  return static_cast<uint64_t>(info.st_size);
}

bool LogFile::is_at(const std::string& path) const {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_;
}

Result<size_t> LogFile::append(std::string_view bytes) {
  while (true) {
    const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
    if (n > 0) return static_cast<size_t>(n);
    if (n == 0) return fail("write " + path_ + ": nothing was taken");
    if (errno != EINTR) return fail_errno("write " + path_);
  }
}

Status LogFile::truncate(uint64_t size) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return fail_errno("truncate " + path_);
  return {};
}

}  // namespace penstock
