#include "pool/supervisor/read_text.h"

#include "src/base/unique_fd.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace penstock {

Result<std::string> read_text(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return fail_errno(path);
  std::string text;
  std::array<char, 4096> bytes;
  for (;;) {
    const ssize_t n = ::read(fd.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(path);
    if (n == 0) return text;
    text.append(bytes.data(), static_cast<size_t>(n));
  }
}

}  // namespace penstock
