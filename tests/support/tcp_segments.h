// What the kernel counts of a TCP connection and glibc's own tcp_info has no room for.
#pragma once

#include <cstdint>

namespace penstock::test {

// Segments that have come in on a socket, 0 where it is no TCP (tcp(7), TCP_INFO: tcpi_segs_in).
uint32_t segments_in(int fd);

}  // namespace penstock::test
