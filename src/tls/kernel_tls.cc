#include "src/tls/kernel_tls.h"

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace penstock {

KernelTls look_for_kernel_tls(const std::function<int()>& attach) {
  const int error = attach();
  switch (error) {
    case 0:
    case ENOTCONN:
      return {.offered = true, .why = "used: the kernel seals what is sent"};
    case ENOENT:
      return {.why = "not used: the kernel has no module tls; records are sealed in the server"};
    case ENOPROTOOPT:
      return {.why = "not used: the kernel is built without it; records are sealed in the server"};
    default:
      errno = error;
      return {.why =
                  fail_errno("not used: the kernel refuses it").error().message + "; records are sealed in the server"};
  }
}

KernelTls look_for_kernel_tls() {
  return look_for_kernel_tls([] {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd.valid()) return errno;
    constexpr char NAME[] = "tls";
    return ::setsockopt(fd.get(), IPPROTO_TCP, TCP_ULP, NAME, sizeof NAME) == 0 ? 0 : errno;
  });
}

}  // namespace penstock
