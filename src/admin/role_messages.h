// What HELLO, CONFIG and READY say, as types: the contents of the messages that channel.h carries.
//
// Both roles and the supervisor use it; JSON stays inside role_messages.cc. Decoders check everything: a missing or
// surplus descriptor, an unknown role or a wrong type is an Error, never an assertion.
#pragma once

#include "src/admin/channel.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// A listening socket, made and held by the supervisor. Non-blocking, already listening.
struct RoleListener {
  static constexpr int32_t ANY_REACTOR = -1;  // one socket for all: unix sockets and sockets from systemd
  uint32_t id = 0;                            // never reused while the supervisor lives
  int32_t reactor = 0;  // the reactor that accepts on it (SO_REUSEPORT: one socket each), or ANY_REACTOR
  std::string address;  // as the config names it: "0.0.0.0:8080", "[::]:443", "unix:/run/x.sock"
  bool is_unix = false;
  bool tls = false;
  UniqueFd fd;  // in CONFIG valid only if the role does not have it yet
};

// HELLO: all that a role needs. Descriptors that a role has no use for are not sent to it (fd -1).
struct RoleStart {
  std::string role;                     // "server", "logd", "keyd"
  uint64_t generation = 0;              // of config_text
  std::string config_text;              // a whole file, as `sysctl -a` prints it; already validated
  uint32_t reactors = 1;                // how many the supervisor made listeners and journals for
  uint32_t server_epoch = 0;            // counts server processes; journals say which process wrote a record
  bool as_root = false;                 // the supervisor is root: the role must change its identity
  uint32_t uid = 0, gid = 0;            // the identity to take, if as_root
  std::string identity_name;            // for status: "penstock", "uid 61201 (reserved)"
  std::vector<RoleListener> listeners;  // server only
  // data 0, ack 0, data 1, ack 1, ... by reactor (src/log/journal_memory.h); counters lie inside data. The server gets
  // one pair per reactor, data writable; logd gets the pairs of every server that may overlap, ack writable.
  std::vector<UniqueFd> journals;
  // Server: the bell that wakes logd when a ring fills; logd: the bed where that hangs (src/base/doorbell.h).
  UniqueFd doorbell;
  // Server: the certificates that config_text names (src/tls/certificate_bundle.h); -1 where it names none.
  UniqueFd certificates;
  UniqueFd connections;               // server: how many connections all servers have (src/server/connection_counts.h)
  uint32_t place = 0;                 // where this one counts its own
  bool certificates_are_new = false;  // some were in force nowhere: all are looked at before anybody is served
  UniqueFd kernel_tap;                // server: the kernel's end of dpdk's port (dpdk.exception); -1: there is none
  bool port_heard_by_two = false;     // server: others that still serve have dpdk's port open as well
  std::string ticket_keys;            // server: what session tickets are sealed with, the newest first, in hexadecimal
  // Server: its channels to keyd, memory 0, bed 0, memory 1, ... (src/tls/key_channel.h): one for each reactor, the
  // last for the control thread. Whether anybody is at their other end depends on the configuration.
  std::vector<UniqueFd> key_channels;
};

// CONFIG: a new generation. `listeners` is the whole wanted table: the role opens the ids that are new (they carry a
// descriptor), keeps the ids it has, and closes the ids that are gone after accepting what waits on them.
struct RoleConfig {
  uint64_t generation = 0;
  std::string config_text;
  std::vector<RoleListener> listeners;
  UniqueFd certificates;  // as in RoleStart
};

// READY: one line of the sandbox report per step, for `penstock status`.
struct ReadyStep {
  std::string name;  // "seccomp"
  bool holds = false;
  std::string detail;  // what it does, or why it is absent
};
struct ReadyReport {
  std::string transport;  // server: "uring" or "epoll (io_uring refused: ...)"; logd: empty
  std::vector<ReadyStep> sandbox;
};

[[nodiscard]] Status send_start(Channel& channel, const RoleStart& start);
[[nodiscard]] Result<RoleStart> decode_start(ChannelMessage message);  // REQUIRES: kind HELLO

[[nodiscard]] Status send_config(Channel& channel, uint32_t id, const RoleConfig& config);
[[nodiscard]] Result<RoleConfig> decode_config(ChannelMessage message);  // REQUIRES: kind CONFIG

[[nodiscard]] std::string encode_ready(const ReadyReport& report);
[[nodiscard]] Result<ReadyReport> decode_ready(std::string_view payload);

}  // namespace penstock
