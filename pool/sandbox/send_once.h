// SendOnce: the one message with which a worker that is already under its filter gives its listener away.
//
// The listener of a filter exists only once the filter is in force, and the smallest profile has no sendmsg. So the
// message lies at an address chosen at random, as ExecOnce does it, and the filter allows sendmsg on that socket with
// that address alone. The program that is executed afterwards does not know the address, and the socket is closed.
#pragma once

#include "src/base/result.h"

#include <cstdint>
#include <memory>

namespace penstock {

class SendOnce {
 public:
  // `socket`: a connected unix socket, closed at the exec.
  [[nodiscard]] static Result<SendOnce> prepare(int socket);
  SendOnce(SendOnce&&) noexcept;
  SendOnce& operator=(SendOnce&&) noexcept;
  ~SendOnce();

  // One line of text (an empty one) with the descriptor.
  [[nodiscard]] Status send(int fd) const;

  [[nodiscard]] int socket() const { return socket_; }
  [[nodiscard]] uint64_t address() const { return address_; }

 private:
  struct Parts;  // what the message points to
  SendOnce();
  std::unique_ptr<Parts> parts_;
  int socket_ = -1;
  uint64_t address_ = 0;
};

}  // namespace penstock
