// The ioctls are those of linux/seccomp.h; receiving would block without a call, so it is asked for one first.
#include "pool/sandbox/syscall_listener.h"

#include <cerrno>
#include <cstdlib>
#include <linux/seccomp.h>
#include <poll.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace penstock {

std::optional<WaitingCall> SyscallListener::next() {
  for (;;) {
    pollfd waits{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (!fd_.valid() || ::poll(&waits, 1, 0) != 1 || (waits.revents & POLLIN) == 0) return std::nullopt;
    seccomp_notif raw{};
    if (::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_RECV, &raw) != 0) {
      if (errno == ENOENT || errno == EINTR) continue;  // it was killed meanwhile
      return std::nullopt;
    }
    WaitingCall call;
    call.id = raw.id;
    call.thread = static_cast<pid_t>(raw.pid);
    call.number = raw.data.nr;
    call.arch = raw.data.arch;
    for (size_t i = 0; i < call.arguments.size(); ++i) call.arguments[i] = raw.data.args[i];
    return call;
  }
}

bool SyscallListener::hung_up() const {
  pollfd waits{.fd = fd_.get(), .events = POLLIN, .revents = 0};
  return fd_.valid() && ::poll(&waits, 1, 0) == 1 && (waits.revents & POLLHUP) != 0;
}

bool SyscallListener::waits(const WaitingCall& call) const {
  uint64_t id = call.id;
  return fd_.valid() && ::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

void SyscallListener::refuse(const WaitingCall& call, int error) {
  seccomp_notif_resp answer{.id = call.id, .val = 0, .error = -error, .flags = 0};
  (void)::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_SEND, &answer);  // fails where it was killed meanwhile
}

void SyscallListener::go_on(const WaitingCall& call) {
  seccomp_notif_resp answer{.id = call.id, .val = 0, .error = 0, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
  (void)::ioctl(fd_.get(), SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

std::string syscall_name(const WaitingCall& call) {
  char* const name = ::seccomp_syscall_resolve_num_arch(call.arch, call.number);
  std::string out = name != nullptr ? name : "call " + std::to_string(call.number);
  std::free(name);
  return out;
}

bool starts_program(const WaitingCall& call) { return call.number == SYS_execve || call.number == SYS_execveat; }

}  // namespace penstock
