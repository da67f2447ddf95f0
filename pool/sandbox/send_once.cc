#include "pool/sandbox/send_once.h"

#include "pool/sandbox/hidden_place.h"

#include <bit>
#include <cstring>
#include <sys/socket.h>

namespace penstock {

struct SendOnce::Parts {
  char line = '\n';
  iovec text{};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
};

SendOnce::SendOnce() = default;
SendOnce::SendOnce(SendOnce&&) noexcept = default;
SendOnce& SendOnce::operator=(SendOnce&&) noexcept = default;
SendOnce::~SendOnce() = default;

Result<SendOnce> SendOnce::prepare(int socket) {
  SendOnce once;
  once.parts_ = std::make_unique<Parts>();
  Parts& parts = *once.parts_;
  parts.text = {&parts.line, 1};
  msghdr message{};
  message.msg_iov = &parts.text;
  message.msg_iovlen = 1;
  message.msg_control = parts.control;
  message.msg_controllen = sizeof parts.control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const Result<uint64_t> place = hide(&message, sizeof message);
  if (!place) return std::unexpected(place.error());
  once.address_ = *place;
  once.socket_ = socket;
  return once;
}

Status SendOnce::send(int fd) const {
  auto* const message = std::bit_cast<msghdr*>(address_);
  std::memcpy(CMSG_DATA(CMSG_FIRSTHDR(message)), &fd, sizeof fd);
  if (::sendmsg(socket_, message, 0) != 1) return fail_errno("sandbox: give the listener to the supervisor");
  return {};
}

}  // namespace penstock
