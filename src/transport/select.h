// Opening the transport that was wanted, or the next best with the reason. Cold path, called once a reactor.
#pragma once

#include "src/base/result.h"
#include "src/transport/transport.h"
#include "src/transport/uring/uring_transport.h"

#include <memory>
#include <string>

namespace penstock {

enum class TransportKind : uint8_t { URING, EPOLL };

struct OpenedTransport {
  std::unique_ptr<Transport> transport;
  // Empty when it is the one that was wanted; else one line for the log, without newline:
  // "transport: epoll instead of io_uring: io_uring_setup refused: …".
  std::string note;
};

// Falls back from io_uring to epoll, in milliseconds, whatever way io_uring was refused. The error says why
// not even epoll could be had.
[[nodiscard]] Result<OpenedTransport> open_transport(TransportKind wanted, const TransportOptions& options,
                                                     const UringOptions& uring = {});

}  // namespace penstock
