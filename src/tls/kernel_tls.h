// Whether this kernel seals records itself (kTLS, Linux's "tls" upper-layer protocol). Asked once, at the start; asked
// by root, it loads the module where there is one.
#pragma once

#include <functional>
#include <string>

namespace penstock {

struct KernelTls {
  bool offered = false;
  std::string why;  // the operator's line
};

// `attach`: asks for the protocol on a TCP socket that is not connected, and gives the errno: what is there objects to
// the socket, what is not there is not found.
[[nodiscard]] KernelTls look_for_kernel_tls(const std::function<int()>& attach);
[[nodiscard]] KernelTls look_for_kernel_tls();

}  // namespace penstock
