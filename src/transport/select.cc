#include "src/transport/select.h"

#include "src/transport/epoll/epoll_transport.h"

namespace penstock {

Result<OpenedTransport> open_transport(TransportKind wanted, const TransportOptions& options,
                                       const UringOptions& uring) {
  OpenedTransport opened;
  if (wanted == TransportKind::URING) {
    Result<std::unique_ptr<Transport>> transport = UringTransport::open(options, uring);
    if (transport) {
      opened.transport = std::move(*transport);
      return opened;
    }
    opened.note = "transport: epoll instead of io_uring: " + transport.error().message;
  }
  Result<std::unique_ptr<Transport>> transport = EpollTransport::open(options);
  if (!transport) return std::unexpected(std::move(transport.error()));
  opened.transport = std::move(*transport);
  return opened;
}

}  // namespace penstock
