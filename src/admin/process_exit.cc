#include "src/admin/process_exit.h"

#include "src/base/bytes.h"
#include "src/base/unique_fd.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock {
namespace {

// struct pidfd_info of include/uapi/linux/pidfd.h in its first form; the header of Debian 12 has none.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup;
  uint32_t ids[11];
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr unsigned long GET_INFO = _IOWR(0xff, 11, PidfdInfo);
constexpr uint64_t INFO_EXIT = 1ULL << 3;

RoleExit of_wait_status(int status) {
  RoleExit end;
  if (WIFSIGNALED(status)) {
    end.signal = WTERMSIG(status);
    end.core = WCOREDUMP(status);
  } else {
    end.code = WEXITSTATUS(status);
    end.clean = end.code == 0;
  }
  return end;
}

std::optional<RoleExit> told_by_pidfd(int pidfd) {
  PidfdInfo info{};
  info.mask = INFO_EXIT;
  if (::ioctl(pidfd, GET_INFO, &info) != 0 || (info.mask & INFO_EXIT) == 0) return std::nullopt;
  return of_wait_status(info.exit_code);
}

// The last number of the line, of a zombie.
std::optional<RoleExit> told_by_proc(pid_t pid) {
  const UniqueFd fd(::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 2048> bytes;
  const ssize_t n = fd.valid() ? ::read(fd.get(), bytes.data(), bytes.size()) : -1;
  if (n <= 0) return std::nullopt;
  std::string_view text(bytes.data(), static_cast<size_t>(n));
  const size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos || !text.substr(name_end).starts_with(") Z")) return std::nullopt;
  if (text.ends_with('\n')) text.remove_suffix(1);
  const auto status = parse_decimal(text.substr(text.rfind(' ') + 1));
  if (!status || *status > 0xffff) return std::nullopt;
  return of_wait_status(static_cast<int>(*status));
}

}  // namespace

std::optional<RoleExit> wait_for_exit(int pidfd, bool wait) {
  siginfo_t info{};
  int rc = 0;
  do {
    rc = ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | (wait ? 0 : WNOHANG));
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) return RoleExit{.code = 255};  // reaped by somebody else: a bug, but not one to wait for
  if (info.si_pid == 0) return std::nullopt;
  RoleExit end;
  if (info.si_code == CLD_EXITED) {
    end.code = info.si_status;
    end.clean = end.code == 0;
  } else {
    end.signal = info.si_status;
    end.core = info.si_code == CLD_DUMPED;
  }
  return end;
}

std::optional<RoleExit> foreign_exit(int pidfd, pid_t pid) {
  if (auto end = told_by_pidfd(pidfd)) return end;
  const auto zombie = told_by_proc(pid);
  // Reaped meanwhile, the number may have been another process's.
  if (auto end = told_by_pidfd(pidfd)) return end;
  return zombie;
}

}  // namespace penstock
