// Wake sources: descriptors of others whose readability ends a wait.
#include "src/transport/uring/uring_transport.h"

#include <poll.h>

namespace penstock {

Status UringTransport::add_wake_source(int fd, uint32_t id) {
  wake_sources_.push_back({fd, id});
  arm_wake(static_cast<uint32_t>(wake_sources_.size() - 1));
  return {};
}

void UringTransport::arm_wake(uint32_t index) {
  io_uring_sqe* sqe = ring_->sqe();
  sqe->opcode = IORING_OP_POLL_ADD;
  sqe->fd = wake_sources_[index].fd;
  sqe->len = IORING_POLL_ADD_MULTI;
  sqe->poll32_events = POLLIN;
  sqe->user_data = tag(Op::WAKE, {index, 0});
}

bool UringTransport::on_wake(const WakeSource& source, const Completion& completion, TransportEvent& event) {
  // A poll that failed outright (the descriptor is of a kind that cannot be polled) is not retried.
  if ((completion.flags & IORING_CQE_F_MORE) == 0 && completion.res >= 0) {
    arm_wake(static_cast<uint32_t>(&source - wake_sources_.data()));
  }
  if (completion.res < 0) return false;
  event.kind = TransportEventKind::WOKEN;
  event.id = source.id;
  return true;
}

}  // namespace penstock
