#include "tests/support/tcp_segments.h"

#include <linux/tcp.h>  // and netinet/tcp.h cannot both be seen by one source
#include <netinet/in.h>
#include <sys/socket.h>

namespace penstock::test {

uint32_t segments_in(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_segs_in : 0;
}

}  // namespace penstock::test
