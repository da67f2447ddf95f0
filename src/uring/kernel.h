// The io_uring kernel interface: liburing's header plus what kernels after it have added.
//
// The one home of <liburing.h>. Debian 12 ships the header of kernel 6.0; the numbers below are
// kernel ABI (include/uapi/linux/io_uring.h) and never change. Whoever uses one has probed for it.
#pragma once

#include <liburing.h>

namespace penstock {

// io_uring_setup flags.
constexpr uint32_t URING_SETUP_NO_SQARRAY = 1U << 16;  // 6.6: no index array between us and the entries

// Opcodes.
constexpr uint8_t URING_OP_WAITID = 50;            // 6.7: not used, but whoever has it has the socket commands
constexpr uint8_t URING_OP_FIXED_FD_INSTALL = 54;  // 6.8: gives a direct descriptor an ordinary number

// FIXED_FD_INSTALL flags: close-on-exec is the default.

// Commands of IORING_OP_URING_CMD on a socket (6.7).
constexpr uint32_t URING_SOCKET_SIOCOUTQ = 1;
constexpr uint32_t URING_SOCKET_GETSOCKOPT = 2;
constexpr uint32_t URING_SOCKET_SETSOCKOPT = 3;

// io_uring_register: buffer ring flags and restrictions.
constexpr uint16_t URING_PBUF_RING_INC = 2;  // 6.12: a buffer is consumed piece by piece

// accept, recv and send flags in sqe->ioprio.
constexpr uint16_t URING_ACCEPT_DONTWAIT = 1U << 1;    // 6.10
constexpr uint16_t URING_ACCEPT_POLL_FIRST = 1U << 2;  // 6.10
constexpr uint16_t URING_RECVSEND_BUNDLE = 1U << 4;    // 6.10
constexpr uint16_t URING_SEND_ZC_REPORT_USAGE = 1U << 3;
constexpr uint32_t URING_NOTIF_USAGE_ZC_COPIED = 1U << 31;

// io_uring_enter: struct io_uring_getevents_arg's `pad` became min_wait_usec in 6.12 (feature bit 15).
constexpr uint32_t URING_FEAT_MIN_TIMEOUT = 1U << 15;

// SO_PEERNAME of <asm-generic/socket.h>, answered at level SOL_SOCKET and so by URING_SOCKET_GETSOCKOPT.

}  // namespace penstock
