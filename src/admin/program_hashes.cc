#include "src/admin/program_hashes.h"

#include "src/base/sha256.h"
#include "src/base/unique_fd.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr size_t PIECE = 256 * 1'024;

int64_t ns_of(const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

Result<std::string> sum_of(const UniqueFd& fd, const std::string& path) {
  const auto buffer = std::make_unique<char[]>(PIECE);
  Sha256 sum;
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer.get(), PIECE);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read " + path);
    if (got == 0) return hex_of(sum.finish());
    sum.add({buffer.get(), static_cast<size_t>(got)});
  }
}

}  // namespace

Status ProgramHashes::check(const std::string& path) {
  if (allows_all()) return {};
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) return fail_errno("open " + path);
  if (!S_ISREG(info.st_mode)) return fail(path + " is no file");
  if (static_cast<uint64_t>(info.st_size) > BYTES_MAX) return fail(path + " is too large to be looked at");
  const Stamp stamp{.device = info.st_dev,
                    .inode = info.st_ino,
                    .bytes = static_cast<uint64_t>(info.st_size),
                    .modified_ns = ns_of(info.st_mtim),
                    .changed_ns = ns_of(info.st_ctim)};
  auto known = sums_.find(stamp);
  if (known == sums_.end()) {
    Result<std::string> sum = sum_of(fd, path);
    if (!sum) return std::unexpected(sum.error());
    if (sums_.size() >= KEPT_MAX) sums_.clear();
    known = sums_.emplace(stamp, std::move(*sum)).first;
  }
  if (std::ranges::find(allowed_, known->second) != allowed_.end()) return {};
  return fail("its SHA-256 is " + known->second + ", which programs_sha256 does not list");
}

}  // namespace penstock
