#include "tests/net_tap/kernel_net.h"

#include "src/base/clock.h"
#include "src/base/unique_fd.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <thread>

namespace penstock {
namespace {

struct In6Request {  // in6_ifreq of linux/ipv6.h, which does not go together with netinet/in.h
  uint8_t address[16];
  uint32_t prefix_bits;
  int32_t index;
};

std::string failure(const std::string& what) {
  char text[128];
  return what + ": " + strerror_r(errno, text, sizeof text);
}

ifreq request_of(const std::string& name) {
  ifreq request = {};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

sockaddr v4_socket_address(uint32_t value) {
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(value);
  sockaddr address;
  std::memcpy(&address, &in, sizeof address);
  return address;
}

}  // namespace

std::string enter_network_namespace() {
  if (::unshare(CLONE_NEWNET) == 0) return {};
  if (errno == EPERM && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) return {};
  return failure("a network namespace");
}

std::string set_net_switch(const std::string& path, const std::string& value) {
  const UniqueFd file(::open(("/proc/sys/net/" + path).c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid() || ::write(file.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    return failure("/proc/sys/net/" + path);
  return {};
}

std::string bring_up(const std::string& name, uint16_t mtu, const IpAddress& v4, const IpAddress& v6) {
  const UniqueFd socket4(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const UniqueFd socket6(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket4.valid() || !socket6.valid()) return failure("a socket");
  ifreq request = request_of(name);
  request.ifr_mtu = mtu;
  if (::ioctl(socket4.get(), SIOCSIFMTU, &request) != 0) return failure("the MTU of " + name);
  request = request_of(name);
  request.ifr_addr = v4_socket_address(v4.v4_value());
  if (::ioctl(socket4.get(), SIOCSIFADDR, &request) != 0) return failure("the IPv4 address of " + name);
  request.ifr_addr = v4_socket_address(0xffffff00);
  if (::ioctl(socket4.get(), SIOCSIFNETMASK, &request) != 0) return failure("the IPv4 mask of " + name);
  for (const std::string& whose : {std::string("all"), name}) {
    std::string wrong = set_net_switch("ipv6/conf/" + whose + "/accept_dad", "0");
    if (!wrong.empty()) return wrong;
  }
  request = request_of(name);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(socket4.get(), SIOCSIFFLAGS, &request) != 0) return failure("the flags of " + name);
  In6Request in6 = {.prefix_bits = 64, .index = static_cast<int32_t>(::if_nametoindex(name.c_str()))};
  std::memcpy(in6.address, v6.bytes.data(), sizeof in6.address);
  if (::ioctl(socket6.get(), SIOCSIFADDR, &in6) != 0) return failure("the IPv6 address of " + name);
  // It becomes usable a moment later.
  sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  std::memcpy(&address.sin6_addr, v6.bytes.data(), 16);
  const MonoTime limit = RealClock().now() + seconds(10);
  while (::bind(socket6.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (RealClock().now() > limit) return failure("the use of the IPv6 address of " + name);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return {};
}

std::string add_default_route(const std::string& name, const IpAddress& gateway) {
  if (gateway.is_v4()) {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    rtentry route = {};
    std::string device = name;
    route.rt_dst = v4_socket_address(0);
    route.rt_genmask = v4_socket_address(0);
    route.rt_gateway = v4_socket_address(gateway.v4_value());
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    route.rt_dev = device.data();
    return ::ioctl(socket.get(), SIOCADDRT, &route) == 0 ? std::string() : failure("the IPv4 route by " + name);
  }
  const UniqueFd socket(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  in6_rtmsg route = {};
  std::memcpy(&route.rtmsg_gateway, gateway.bytes.data(), 16);
  route.rtmsg_metric = 1;
  route.rtmsg_flags = RTF_UP | RTF_GATEWAY;
  route.rtmsg_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
  return ::ioctl(socket.get(), SIOCADDRT, &route) == 0 ? std::string() : failure("the IPv6 route by " + name);
}

}  // namespace penstock
