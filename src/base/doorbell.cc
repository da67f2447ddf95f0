#include "src/base/doorbell.h"

#include <cstdint>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace penstock {

Result<UniqueFd> make_bed() {
  UniqueFd bed(::epoll_create1(EPOLL_CLOEXEC));
  if (!bed.valid()) return fail_errno("epoll for a doorbell");
  return bed;
}

Result<UniqueFd> make_bell() {
  UniqueFd bell(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!bell.valid()) return fail_errno("eventfd for a doorbell");
  return bell;
}

Status hang_bell(const UniqueFd& bell, std::initializer_list<int> beds, int name) {
  for (const int bed : beds) {
    epoll_event event{.events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, .data = {.fd = name}};
    if (::epoll_ctl(bed, EPOLL_CTL_ADD, bell.get(), &event) != 0) return fail_errno("hang a doorbell");
  }
  return {};
}

bool ring_bell(int bell) {
  const uint64_t one = 1;
  return ::write(bell, &one, sizeof one) == static_cast<ssize_t>(sizeof one);
}

void empty_bed(int bed) {
  epoll_event event{};
  while (::epoll_wait(bed, &event, 1, 0) > 0) {
  }
}

}  // namespace penstock
