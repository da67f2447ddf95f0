#include "src/transport/engine/kernel_tap.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <span>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace penstock {
namespace {

std::unexpected<Error> wrong(const std::string& what, int code = errno) {
  return fail_errno("dpdk.exception: " + what, code);
}

// One request of rtnetlink's, as its bytes.
class RouteRequest {
 public:
  template <typename Body>
  RouteRequest(uint16_t type, uint16_t flags, const Body& body) {
    nlmsghdr head{};
    head.nlmsg_type = type;
    head.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    put(&head, sizeof head);
    put(&body, sizeof body);
  }
  void add(uint16_t type, const void* data, size_t bytes) {
    rtattr attribute{};
    attribute.rta_len = static_cast<unsigned short>(RTA_LENGTH(bytes));
    attribute.rta_type = type;
    put(&attribute, sizeof attribute);
    put(data, bytes);
  }
  void add(uint16_t type, const IpAddress& ip) { add(type, raw(ip).data(), raw(ip).size()); }

  // The kernel's answer: 0, or an errno.
  [[nodiscard]] int ask(int socket) {
    auto* head = reinterpret_cast<nlmsghdr*>(bytes_.data());
    head->nlmsg_len = static_cast<uint32_t>(size_);
    if (::send(socket, bytes_.data(), size_, 0) != static_cast<ssize_t>(size_)) return errno;
    alignas(nlmsghdr) std::array<uint8_t, 1'024> answer;
    const ssize_t got = ::recv(socket, answer.data(), answer.size(), 0);
    if (got < 0) return errno;
    if (static_cast<size_t>(got) < NLMSG_HDRLEN + sizeof(nlmsgerr)) return EPROTO;
    const auto* said = reinterpret_cast<const nlmsghdr*>(answer.data());
    if (said->nlmsg_type != NLMSG_ERROR) return EPROTO;
    return -reinterpret_cast<const nlmsgerr*>(answer.data() + NLMSG_HDRLEN)->error;
  }

 private:
  static std::span<const uint8_t> raw(const IpAddress& ip) {
    return ip.is_v4() ? std::span(ip.bytes).last(4) : std::span<const uint8_t>(ip.bytes);
  }
  void put(const void* data, size_t bytes) {
    std::memcpy(bytes_.data() + size_, data, bytes);
    size_ += (bytes + NLMSG_ALIGNTO - 1) / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
  }

  alignas(nlmsghdr) std::array<uint8_t, 256> bytes_{};
  size_t size_ = 0;
};

uint8_t family_of(const IpAddress& ip) { return static_cast<uint8_t>(ip.is_v4() ? AF_INET : AF_INET6); }

Status add_address(int socket, int index, const IpAddress& ip, uint8_t prefix_bits) {
  if (ip.is_unspecified()) return {};
  ifaddrmsg body{};
  body.ifa_family = family_of(ip);
  body.ifa_prefixlen = prefix_bits;
  body.ifa_flags = IFA_F_NODAD;  // the engine has it as well, and would be taken for somebody else
  body.ifa_index = static_cast<unsigned>(index);
  RouteRequest request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body);
  request.add(IFA_LOCAL, ip);
  request.add(IFA_ADDRESS, ip);
  const int error = request.ask(socket);
  if (error == 0 || error == EEXIST) return {};
  if (!ip.is_v4() && (error == EACCES || error == EOPNOTSUPP))
    return wrong("the kernel takes no IPv6 address: net.ipv6.conf.*.disable_ipv6 is 1", error);
  return wrong("giving the kernel the port's address", error);
}

Status add_route(int socket, int index, const IpAddress& gateway) {
  if (gateway.is_unspecified()) return {};
  rtmsg body{};
  body.rtm_family = family_of(gateway);
  body.rtm_table = RT_TABLE_MAIN;
  body.rtm_protocol = RTPROT_STATIC;
  body.rtm_scope = RT_SCOPE_UNIVERSE;
  body.rtm_type = RTN_UNICAST;
  RouteRequest request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body);
  request.add(RTA_GATEWAY, gateway);
  request.add(RTA_OIF, &index, sizeof index);
  const int error = request.ask(socket);
  if (error == 0 || error == EEXIST) return {};
  return wrong("giving the kernel the port's gateway", error);
}

Status set_link(int socket, ifreq request, const NetAddresses& addresses) {
  request.ifr_mtu = addresses.mtu;
  if (::ioctl(socket, SIOCSIFMTU, &request) != 0) return wrong("the MTU of its device");
  request.ifr_hwaddr = {};
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, addresses.mac.bytes.data(), addresses.mac.bytes.size());
  if (::ioctl(socket, SIOCSIFHWADDR, &request) != 0) return wrong("the MAC address of its device");
  if (::ioctl(socket, SIOCGIFFLAGS, &request) != 0) return wrong("the state of its device");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(socket, SIOCSIFFLAGS, &request) != 0) return wrong("setting its device up");
  return {};
}

}  // namespace

Result<UniqueFd> open_kernel_tap(const std::string& name) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return wrong("/dev/net/tun cannot be opened: modprobe tun, and start as root");
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) return fail("dpdk.exception_device = " + name + ": too long");
  name.copy(request.ifr_name, name.size());
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(fd.get(), TUNSETIFF, &request) == 0) return fd;
  const int error = errno;
  const std::string device = "dpdk.exception_device = " + name + ": ";
  if (error == EBUSY) return fail(device + "another program has that device", error);
  if (error == EINVAL || error == EEXIST) return fail(device + "there is an interface of another kind", error);
  if (error == EPERM) return fail(device + "not permitted: start as root", error);
  return fail_errno(device + "no TAP device", error);
}

Status set_up_kernel_tap(int fd, const NetAddresses& addresses) {
  ifreq request{};
  if (::ioctl(fd, TUNGETIFF, &request) != 0) return wrong("its device has gone");
  const UniqueFd links(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const UniqueFd routes(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!links.valid() || !routes.valid()) return wrong("a socket for its device");
  if (Status set = set_link(links.get(), request, addresses); !set) return set;
  if (::ioctl(links.get(), SIOCGIFINDEX, &request) != 0) return wrong("the number of its device");
  const int index = request.ifr_ifindex;
  Status added = add_address(routes.get(), index, addresses.v4, addresses.v4_prefix_bits);
  if (added) added = add_address(routes.get(), index, addresses.v6, addresses.v6_prefix_bits);
  if (added) added = add_route(routes.get(), index, addresses.v4_gateway);
  if (added) added = add_route(routes.get(), index, addresses.v6_gateway);
  return added;
}

}  // namespace penstock
