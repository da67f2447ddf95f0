#include "tests/net_tap/tap_world.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>

namespace penstock {
namespace {

constexpr int DEADLINE_S = 10;

socklen_t socket_address(const IpAddress& ip, uint16_t port, sockaddr_storage& storage) {
  storage = {};
  if (ip.is_v4()) {
    auto* in = reinterpret_cast<sockaddr_in*>(&storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    in->sin_addr.s_addr = htonl(ip.v4_value());
    return sizeof *in;
  }
  auto* in = reinterpret_cast<sockaddr_in6*>(&storage);
  in->sin6_family = AF_INET6;
  in->sin6_port = htons(port);
  std::memcpy(&in->sin6_addr, ip.bytes.data(), 16);
  return sizeof *in;
}

}  // namespace

IpAddress v6_address(uint8_t net, uint8_t host) {
  IpAddress address;
  address.bytes = {0xfd, 0x77, 0, net};
  address.bytes[15] = host;
  return address;
}

const IpAddress TapWorld::OURS4 = IpAddress::v4(10, 77, 0, 1);
const IpAddress TapWorld::LINUX4 = IpAddress::v4(10, 77, 0, 2);
const IpAddress TapWorld::OURS6 = v6_address(0, 1);
const IpAddress TapWorld::LINUX6 = v6_address(0, 2);

LinuxSocket::LinuxSocket(bool v6) : fd_(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  set_timeouts();
}

void LinuxSocket::set_timeouts() const {
  const timeval limit = {DEADLINE_S, 0};
  (void)::setsockopt(fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  (void)::setsockopt(fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

int LinuxSocket::connect(const IpAddress& to, uint16_t port) const {
  sockaddr_storage address;
  const socklen_t size = socket_address(to, port, address);
  return ::connect(fd(), reinterpret_cast<sockaddr*>(&address), size) == 0 ? 0 : errno;
}

int LinuxSocket::bind(const IpAddress& to, uint16_t port) const {
  sockaddr_storage address;
  const socklen_t size = socket_address(to, port, address);
  return ::bind(fd(), reinterpret_cast<sockaddr*>(&address), size) == 0 ? 0 : errno;
}

uint16_t LinuxSocket::local_port() const {
  sockaddr_in6 address = {};  // the port is where that of IPv4 is
  socklen_t size = sizeof address;
  if (::getsockname(fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.sin6_port);
}

void LinuxSocket::set(int level, int option, int value) const {
  ASSERT(::setsockopt(fd(), level, option, &value, sizeof value) == 0);
}

tcp_info LinuxSocket::info() const {
  tcp_info info = {};
  socklen_t size = sizeof info;
  ASSERT(::getsockopt(fd(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
  return info;
}

bool LinuxSocket::send_all(const void* bytes, size_t size) const {
  const auto* at = static_cast<const uint8_t*>(bytes);
  while (size != 0) {
    const ssize_t sent = ::send(fd(), at, size, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    at += sent;
    size -= static_cast<size_t>(sent);
  }
  return true;
}

bool LinuxSocket::send_pattern(uint64_t size) const {
  for (; size > PATTERN_BYTES; size -= PATTERN_BYTES) {
    if (!send_all(pattern().data(), PATTERN_BYTES)) return false;
  }
  return send_all(pattern().data(), size);
}

bool LinuxSocket::receive_all(void* bytes, size_t size) const {
  return ::recv(fd(), bytes, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

bool LinuxSocket::receive_pattern(uint64_t size, uint64_t offset) const {
  std::vector<uint8_t> room(64 * 1'024);
  while (size != 0) {
    const ssize_t got = ::recv(fd(), room.data(), std::min<uint64_t>(size, room.size()), 0);
    if (got <= 0 || !is_pattern(offset, room.data(), static_cast<size_t>(got))) return false;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<uint64_t>(got);
  }
  return true;
}

bool LinuxSocket::at_end() const {
  uint8_t byte = 0;
  return ::recv(fd(), &byte, 1, 0) == 0;
}

bool TapWorld::ping(bool v6, size_t size) {
  const UniqueFd fd(
      ::socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, int{v6 ? IP_PROTOCOL_ICMPV6 : IP_PROTOCOL_ICMP}));
  const timeval limit = {DEADLINE_S, 0};
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::vector<uint8_t> question = {static_cast<uint8_t>(v6 ? 128 : 8), 0, 0, 0, 0x12, 0x34, 0, 7};
  question.insert(question.end(), pattern().begin(), pattern().begin() + static_cast<ptrdiff_t>(size));
  if (!v6) store_be16(&question[2], checksum_of(internet_sum(question)));  // else the kernel makes it
  sockaddr_storage to;
  const socklen_t to_size = socket_address(ours(v6), 0, to);
  if (::sendto(fd.get(), question.data(), question.size(), 0, reinterpret_cast<sockaddr*>(&to), to_size) < 0)
    return false;
  std::vector<uint8_t> packet(2'048);
  for (;;) {
    const ssize_t got = ::recv(fd.get(), packet.data(), packet.size(), 0);
    if (got < 0) return false;
    std::span<const uint8_t> answer = std::span(packet).first(static_cast<size_t>(got));
    if (!v6) answer = answer.subspan(20);
    if (answer.size() < 8 || answer[0] != (v6 ? 129 : 0)) continue;  // what else Linux hears
    return answer.size() == question.size() && std::equal(answer.begin() + 4, answer.end(), question.begin() + 4);
  }
}

TapWorld::TapWorld(const TapOptions& options) {
  static const std::string namespace_wrong = enter_network_namespace();  // one for all worlds, one after another
  wrong_ = namespace_wrong;
  if (!wrong_.empty()) return;
  std::unique_ptr<TapDevice> tap = TapDevice::open("tap77", wrong_);
  if (tap == nullptr) return;
  wrong_ = bring_up("tap77", MTU, LINUX4, LINUX6);
  if (!wrong_.empty()) return;
  NetConfig config;
  config.addresses.mac = {{2, 0, 0, 0, 77, 1}};
  config.addresses.mtu = MTU;
  config.addresses.v4 = OURS4;
  config.addresses.v6 = OURS6;
  config.addresses.v4_gateway = LINUX4;
  config.addresses.v6_gateway = LINUX6;
  config.limits = options.limits;
  config.times = options.times;
  config.secret = {hash_word(options.seed), hash_word(options.seed + 1)};
  engine_ = std::make_unique<TapEngine>(config, std::move(tap), options.seed, options.faults);
}

LinuxSocket TapWorld::connect(bool v6, TapService service) {
  LinuxSocket socket(v6);
  if (socket.connect(ours(v6), static_cast<uint16_t>(service)) != 0) socket.close();
  return socket;
}

bool TapWorld::download(const LinuxSocket& socket, uint64_t size) {
  uint8_t word[8];
  store_be32(word, static_cast<uint32_t>(size >> 32));
  store_be32(word + 4, static_cast<uint32_t>(size));
  return socket.send_all(word, 8) && socket.receive_pattern(size) && socket.at_end() && socket.half_close();
}

bool TapWorld::upload(const LinuxSocket& socket, uint64_t size) {
  uint8_t word[8] = {};
  return socket.send_pattern(size) && socket.half_close() && socket.receive_all(word, 8) && socket.at_end() &&
         (uint64_t{load_be32(word)} << 32 | load_be32(word + 4)) == size;
}

bool TapWorld::at_rest() {
  return engine().wait_until([this](NetStack& stack) {
    const NetStack::Lent lent = stack.lent();
    return lent == NetStack::Lent{.connections = lent.time_wait, .time_wait = lent.time_wait} &&
           engine().frames_lent() == 0;
  });
}

}  // namespace penstock
