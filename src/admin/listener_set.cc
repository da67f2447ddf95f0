#include "src/admin/listener_set.h"

#include "src/admin/unix_socket.h"
#include "src/base/assert.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

// Any local user may connect to a unix listener; who must not is kept out by the directory it lies in.
constexpr mode_t UNIX_LISTENER_MODE = 0666;

struct TcpAddress {
  sockaddr_storage raw{};
  socklen_t length = 0;
};

TcpAddress tcp_address(const ListenAddress& address) {
  TcpAddress out;
  if (address.kind == ListenAddress::Kind::IPV4) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    std::memcpy(&v4.sin_addr, address.ip.data(), sizeof v4.sin_addr);
    std::memcpy(&out.raw, &v4, sizeof v4);
    out.length = sizeof v4;
  } else {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    std::memcpy(&v6.sin6_addr, address.ip.data(), sizeof v6.sin6_addr);
    std::memcpy(&out.raw, &v6, sizeof v6);
    out.length = sizeof v6;
  }
  return out;
}

bool is_unix_kind(const ListenAddress& address) {
  return address.kind == ListenAddress::Kind::UNIX_PATH || address.kind == ListenAddress::Kind::UNIX_ABSTRACT;
}

bool is_unix_path(const ListenerGroup& group) {
  return group.address.kind == ListenAddress::Kind::UNIX_PATH && !group.activated;
}

// A TCP socket bound to `address`, not yet listening.
Result<UniqueFd> bind_tcp(const ListenAddress& address, bool reuse_port, bool past_kernel) {
  const TcpAddress target = tcp_address(address);
  UniqueFd fd(::socket(target.raw.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return fail_errno("listen on " + to_text(address) + ": socket");
  const int on = 1;
  int rc = ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (rc == 0 && reuse_port) rc = ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  // [::]:80 and 0.0.0.0:80 are two addresses, each asked for by name, whatever net.ipv6.bindv6only says.
  if (rc == 0 && target.raw.ss_family == AF_INET6) {
    rc = ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  // Accepted sockets inherit it, which saves a system call per connection.
  if (rc == 0) rc = ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (rc == 0 && past_kernel) {
    const bool v6 = target.raw.ss_family == AF_INET6;
    rc = ::setsockopt(fd.get(), v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND, &on, sizeof on);
  }
  if (rc != 0) return fail_errno("listen on " + to_text(address) + ": setsockopt");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&target.raw), target.length) != 0) {
    return fail_errno("listen on " + to_text(address));
  }
  return fd;
}

Result<RoleListener> describe(const ListenerGroup& group, const ListenerGroup::Socket& socket, bool tls, bool with_fd) {
  RoleListener out;
  out.id = socket.id;
  out.reactor = socket.reactor;
  out.address = group.bound;
  out.is_unix = group.is_unix;
  out.tls = tls;
  if (with_fd) {
    out.fd.reset(::fcntl(socket.fd.get(), F_DUPFD_CLOEXEC, 3));
    if (!out.fd.valid()) return fail_errno("duplicate listener " + group.bound);
  }
  return out;
}

Status add_group(const ListenerGroup& group, bool tls, bool with_fd, std::vector<RoleListener>& out) {
  for (const ListenerGroup::Socket& socket : group.sockets) {
    auto one = describe(group, socket, tls, with_fd);
    if (!one) return std::unexpected(one.error());
    out.push_back(std::move(*one));
  }
  return {};
}

// The entry for `address`, or nullptr.
const WantedListener* entry_of(const std::vector<WantedListener>& list, const ListenAddress& address) {
  const auto it = std::find_if(list.begin(), list.end(), [&](const auto& one) { return one.address == address; });
  return it == list.end() ? nullptr : &*it;
}

}  // namespace

std::vector<WantedListener> wanted_listeners(const Settings& settings) {
  std::vector<WantedListener> wanted;
  for (const ListenAddress& address : settings.server_listen) wanted.push_back({address, false});
  for (const ListenAddress& address : settings.server_listen_tls) wanted.push_back({address, true});
  return wanted;
}

Result<ListenAddress> bound_address(int fd) {
  sockaddr_storage raw{};
  socklen_t length = sizeof raw;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&raw), &length) != 0) return fail_errno("getsockname");
  ListenAddress address;
  if (raw.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &raw, sizeof v4);
    address.port = ntohs(v4.sin_port);
    std::memcpy(address.ip.data(), &v4.sin_addr, sizeof v4.sin_addr);
    return address;
  }
  if (raw.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &raw, sizeof v6);
    address.kind = ListenAddress::Kind::IPV6;
    address.port = ntohs(v6.sin6_port);
    std::memcpy(address.ip.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
    return address;
  }
  if (raw.ss_family != AF_UNIX) return fail("a socket of family " + std::to_string(raw.ss_family));
  sockaddr_un un{};
  std::memcpy(&un, &raw, sizeof un);
  const size_t bytes = length - offsetof(sockaddr_un, sun_path);
  if (length <= offsetof(sockaddr_un, sun_path) || bytes > sizeof un.sun_path)
    return fail("a unix socket without name");
  const bool abstract = un.sun_path[0] == '\0';
  address.kind = abstract ? ListenAddress::Kind::UNIX_ABSTRACT : ListenAddress::Kind::UNIX_PATH;
  const char* begin = abstract ? un.sun_path + 1 : un.sun_path;
  const char* end = abstract ? un.sun_path + bytes : un.sun_path + ::strnlen(un.sun_path, bytes);
  address.name.assign(begin, end);
  return address;
}

ListenerSet::ListenerSet(uint32_t reactors, std::vector<ActivatedSocket> activated, bool past_kernel)
    : reactors_(reactors), past_kernel_(past_kernel), activated_(std::move(activated)) {
  ASSERT(reactors_ > 0);
}

ListenerSet::~ListenerSet() {
  for (const ListenerGroup& group : groups_) {
    if (is_unix_path(group)) ::unlink(group.address.name.c_str());
  }
}

std::vector<ListenAddress> ListenerSet::activated_addresses() const {
  std::vector<ListenAddress> out;
  for (const ActivatedSocket& socket : activated_) {
    if (auto address = bound_address(socket.fd.get())) out.push_back(std::move(*address));
  }
  return out;
}

bool ListenerSet::take_activated(const ListenAddress& address, ListenerGroup& group) {
  for (auto it = activated_.begin(); it != activated_.end(); ++it) {
    const auto bound = bound_address(it->fd.get());
    if (!bound || !(*bound == address)) continue;
    const int flags = ::fcntl(it->fd.get(), F_GETFL);
    ::fcntl(it->fd.get(), F_SETFL, flags | O_NONBLOCK);
    group.activated = true;
    group.port = bound->port;
    group.sockets.push_back({next_id_++, RoleListener::ANY_REACTOR, std::move(it->fd)});
    activated_.erase(it);
    return true;
  }
  return false;
}

bool ListenerSet::own_port(uint16_t port) const {
  return std::any_of(groups_.begin(), groups_.end(),
                     [port](const ListenerGroup& group) { return !group.is_unix && group.port == port; });
}

Result<ListenerGroup> ListenerSet::open_tcp(const ListenAddress& address, int backlog) {
  ListenerGroup group;
  group.address = address;
  const bool share = reactors_ > 1;
  // SO_REUSEPORT would join another process of our user silently. A socket without it finds out who is there first;
  // our own sockets of the same port (0.0.0.0 beside 127.0.0.1) are no reason to refuse.
  if (share && address.port != 0 && !own_port(address.port)) {
    if (auto probe = bind_tcp(address, false, past_kernel_); !probe) return std::unexpected(probe.error());
  }
  ListenAddress actual = address;
  for (uint32_t reactor = 0; reactor < reactors_; ++reactor) {
    auto fd = bind_tcp(actual, share, past_kernel_);
    if (!fd) return std::unexpected(fd.error());
    if (reactor == 0) {  // port 0: the kernel has chosen now, and the others follow
      const auto bound = bound_address(fd->get());
      if (!bound) return std::unexpected(bound.error());
      actual = *bound;
    }
    group.sockets.push_back({next_id_++, static_cast<int32_t>(reactor), std::move(*fd)});
  }
  // All are bound before one listens: a connection is never given to a group that then fails.
  for (const ListenerGroup::Socket& socket : group.sockets) {
    if (!past_kernel_ && ::listen(socket.fd.get(), backlog) != 0) return fail_errno("listen on " + to_text(address));
  }
  group.port = actual.port;
  group.bound = to_text(actual);
  return group;
}

Result<ListenerGroup> ListenerSet::open_group(const ListenAddress& address, int backlog) {
  ListenerGroup group;
  group.address = address;
  group.bound = to_text(address);
  group.is_unix = is_unix_kind(address);
  if (take_activated(address, group)) return group;
  if (!group.is_unix) return open_tcp(address, backlog);
  const bool abstract = address.kind == ListenAddress::Kind::UNIX_ABSTRACT;
  auto fd = listen_unix(abstract ? "@" + address.name : address.name, UNIX_LISTENER_MODE, backlog);
  if (!fd) return std::unexpected(fd.error());
  group.sockets.push_back({next_id_++, RoleListener::ANY_REACTOR, std::move(*fd)});
  return group;
}

// A socket of the service manager stays open for a later configuration; a socket file of ours goes.
void ListenerSet::retire(ListenerGroup group) {
  if (is_unix_path(group)) ::unlink(group.address.name.c_str());
  give_back(group);
}

void ListenerSet::give_back(ListenerGroup& group) {
  if (!group.activated) return;
  for (ListenerGroup::Socket& socket : group.sockets) activated_.push_back({std::move(socket.fd), ""});
}

Result<ListenerChange> ListenerSet::prepare(const std::vector<WantedListener>& wanted, int backlog) {
  ListenerChange change;
  change.wanted = wanted;
  change.backlog = backlog;
  std::string problems;  // of all of them, in one line
  for (const auto& [address, tls] : wanted) {
    const bool have = std::any_of(groups_.begin(), groups_.end(),
                                  [&, &at = address](const ListenerGroup& group) { return group.address == at; });
    if (have) continue;
    auto group = open_group(address, backlog);
    if (!group) {
      problems.append(problems.empty() ? "" : "; ").append(group.error().message);
      continue;
    }
    group->tls = tls;
    change.added.push_back(std::move(*group));
  }
  if (!problems.empty()) {
    abandon(std::move(change));
    return fail(std::move(problems));
  }
  change.closes = std::any_of(groups_.begin(), groups_.end(),
                              [&](const ListenerGroup& group) { return entry_of(wanted, group.address) == nullptr; });
  return change;
}

void ListenerSet::commit(ListenerChange change) {
  for (auto it = groups_.begin(); it != groups_.end();) {
    if (const WantedListener* wanted = entry_of(change.wanted, it->address); wanted != nullptr) {
      it->tls = wanted->tls;
      // listen(2) on a listening socket changes its backlog and nothing else.
      for (const ListenerGroup::Socket& socket : it->sockets) {
        if (!past_kernel_) ::listen(socket.fd.get(), change.backlog);
      }
      ++it;
    } else {
      retire(std::move(*it));
      it = groups_.erase(it);
    }
  }
  for (ListenerGroup& group : change.added) groups_.push_back(std::move(group));
}

void ListenerSet::abandon(ListenerChange change) {
  for (ListenerGroup& group : change.added) retire(std::move(group));
}

Result<std::vector<RoleListener>> ListenerSet::table_for_start(const ListenerChange* change) const {
  std::vector<RoleListener> out;
  for (const ListenerGroup& group : groups_) {
    const WantedListener* wanted = change != nullptr ? entry_of(change->wanted, group.address) : nullptr;
    if (change != nullptr && wanted == nullptr) continue;
    if (Status ok = add_group(group, wanted != nullptr ? wanted->tls : group.tls, true, out); !ok)
      return std::unexpected(ok.error());
  }
  if (change == nullptr) return out;
  for (const ListenerGroup& group : change->added) {
    if (Status ok = add_group(group, group.tls, true, out); !ok) return std::unexpected(ok.error());
  }
  return out;
}

Result<std::vector<RoleListener>> ListenerSet::table_for_config(const ListenerChange& change) const {
  std::vector<RoleListener> out;
  for (const ListenerGroup& group : groups_) {
    const WantedListener* wanted = entry_of(change.wanted, group.address);
    if (wanted == nullptr) continue;
    if (Status ok = add_group(group, wanted->tls, false, out); !ok) return std::unexpected(ok.error());
  }
  for (const ListenerGroup& group : change.added) {
    if (Status ok = add_group(group, group.tls, true, out); !ok) return std::unexpected(ok.error());
  }
  return out;
}

}  // namespace penstock
