// ListenerSet: every listening socket of the instance. Owned by the supervisor, for as long as it lives.
//
// Server processes only borrow the sockets, so that one that dies takes no waiting connection with it. A TCP address
// has one SO_REUSEPORT socket per reactor; unix sockets and sockets from the service manager are one for all.
// A change is made in two steps, so that a configuration that cannot be applied opens nothing and closes nothing:
// prepare() opens what is new; commit() takes it over and closes what is gone, or abandon() closes it again.
#pragma once

#include "src/admin/notify.h"
#include "src/admin/role_messages.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"
#include "src/config/settings.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace penstock {

struct WantedListener {
  WantedListener(ListenAddress where, bool speaks_tls = false)
      : address(std::move(where)), tls(speaks_tls) {}  // NOLINT
  ListenAddress address;
  bool tls = false;
};
// What server.listen and server.listen_tls name.
[[nodiscard]] std::vector<WantedListener> wanted_listeners(const Settings& settings);

// The sockets of one address of server.listen or server.listen_tls.
struct ListenerGroup {
  ListenAddress address;  // as configured
  uint16_t port = 0;      // of TCP, as bound: the kernel chose it where the configured one is 0
  std::string bound;      // the address with that port, as text
  bool is_unix = false;
  bool activated = false;  // came from the service manager
  bool tls = false;
  struct Socket {
    uint32_t id = 0;
    int32_t reactor = 0;
    UniqueFd fd;
  };
  std::vector<Socket> sockets;
};

struct ListenerChange {
  std::vector<WantedListener> wanted;
  std::vector<ListenerGroup> added;
  int backlog = 0;
  bool closes = false;  // an address is gone
  [[nodiscard]] bool empty() const { return added.empty() && !closes; }
};

class ListenerSet {
 public:
  // `past_kernel`: the addresses are a port's of our own. Sockets hold their numbers, also of addresses that the kernel
  // does not have, and do not listen: who asks the kernel is refused.
  ListenerSet(uint32_t reactors, std::vector<ActivatedSocket> activated, bool past_kernel = false);
  ~ListenerSet();  // removes the files of unix sockets
  ListenerSet(const ListenerSet&) = delete;
  ListenerSet& operator=(const ListenerSet&) = delete;

  // The addresses of the sockets that the service manager passed and nobody took yet.
  [[nodiscard]] std::vector<ListenAddress> activated_addresses() const;

  // Opens the addresses of `wanted` that are not open. Error: which address, and why.
  [[nodiscard]] Result<ListenerChange> prepare(const std::vector<WantedListener>& wanted, int backlog);
  void commit(ListenerChange change);
  void abandon(ListenerChange change);

  // The table for HELLO: all sockets (with those of `change`, if given), each with a descriptor of its own.
  // The table for CONFIG is the same, with descriptors only for what `change` adds.
  [[nodiscard]] Result<std::vector<RoleListener>> table_for_start(const ListenerChange* change) const;
  [[nodiscard]] Result<std::vector<RoleListener>> table_for_config(const ListenerChange& change) const;

  [[nodiscard]] const std::vector<ListenerGroup>& groups() const { return groups_; }

 private:
  [[nodiscard]] Result<ListenerGroup> open_group(const ListenAddress& address, int backlog);
  [[nodiscard]] Result<ListenerGroup> open_tcp(const ListenAddress& address, int backlog);
  [[nodiscard]] bool take_activated(const ListenAddress& address, ListenerGroup& group);
  [[nodiscard]] bool own_port(uint16_t port) const;
  void retire(ListenerGroup group);
  void give_back(ListenerGroup& group);

  uint32_t reactors_;
  bool past_kernel_;
  uint32_t next_id_ = 1;
  std::vector<ActivatedSocket> activated_;
  std::vector<ListenerGroup> groups_;
};

// The address that a listening socket is bound to, or nothing for a family that penstock does not serve.
[[nodiscard]] Result<ListenAddress> bound_address(int fd);

}  // namespace penstock
