// The port past the kernel: who has it while one server follows another, and the kernel's end of it, which stays.
#include "src/roles/patience.h"
#include "src/roles/supervisor_state.h"
#include "src/transport/dpdk/port_for_two.h"
#include "src/transport/engine/kernel_tap.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace penstock {
namespace {

// What two servers must have alike to have the port at once.
constexpr std::array<std::string_view, 7> PORT_KEYS = {
    "dpdk.device", "dpdk.addresses", "dpdk.gateways",        "dpdk.vlan",
    "dpdk.mtu",    "dpdk.exception", "dpdk.exception_device"};

}  // namespace

// Huge pages are not there for two.
bool Supervisor::two_may_have_port(const Settings& settings) {
  return settings.server_transport == TransportSetting::DPDK && two_may_hear(settings.dpdk_device) &&
         !settings.dpdk_hugepages;
}

// The kernel that shares the port would refuse what is left of a port number that only the old server had.
bool Supervisor::two_may_have_port(const Change& change) const {
  const Settings& next = change.next.settings();
  return two_may_have_port(tree_.settings()) && two_may_have_port(next) &&
         !(next.dpdk_exception && change.listeners.closes) &&
         std::ranges::none_of(change.changes, [](const TreeChange& one) {
           return std::ranges::find(PORT_KEYS, one.key) != PORT_KEYS.end();
         });
}

// The new server may start once `server` knows that it will not be the only one.
Status Supervisor::begin_beside(RoleProcess& server) {
  change_->step = Change::Step::SERVER_BESIDE;
  change_->deadline = now_ + SERVER_CONFIG_TIMEOUT;
  change_->message_id = next_message_++;
  change_->serial = server.serial;
  server.port_heard_by_two = true;
  return server.channel.send(MessageKind::PORT_HEARD, change_->message_id, "1");
}

// The new server may start once `server` has ended.
void Supervisor::begin_in_turn(RoleProcess& server) {
  const Duration patience = tree_.settings().server_drain_timeout;
  change_->step = Change::Step::SERVER_STOP;
  change_->deadline = now_ + patience + SERVER_START_TIMEOUT;
  change_->serial = server.serial;
  drain(server, patience);
}

// The one server that is left hears of it.
void Supervisor::settle_port() {
  if (change_ && change_->step == Change::Step::SERVER_BESIDE) return;
  RoleProcess* alone = nullptr;
  for (const auto& role : roles_) {
    if (role->role != "server") continue;
    if (alone != nullptr) return;
    alone = role.get();
  }
  if (alone == nullptr || !alone->port_heard_by_two || alone->state == RoleProcess::State::STARTING) return;
  if (alone->channel.send(MessageKind::PORT_HEARD, 0, "0")) alone->port_heard_by_two = false;
}

// The interface stays, with all that is connected over it, from one server to the next, as long as it is to be the
// same.
Status Supervisor::keep_kernel_tap(const Settings& settings) {
  KernelTap wanted;
  if (settings.server_transport == TransportSetting::DPDK && settings.dpdk_exception) {
    wanted.device = settings.dpdk_exception_device;
    wanted.addresses = settings.dpdk_addresses;
    wanted.addresses.insert(wanted.addresses.end(), settings.dpdk_gateways.begin(), settings.dpdk_gateways.end());
  }
  if (wanted.device == kernel_tap_.device && wanted.addresses == kernel_tap_.addresses) return {};
  kernel_tap_ = {};
  if (wanted.device.empty()) return {};
  auto tap = open_kernel_tap(wanted.device);
  if (!tap) return std::unexpected(tap.error());
  wanted.fd = std::move(*tap);
  kernel_tap_ = std::move(wanted);
  return {};
}

}  // namespace penstock
