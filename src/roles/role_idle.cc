#include "src/roles/role_idle.h"

#include "src/admin/channel.h"
#include "src/admin/role_sandbox.h"
#include "src/config/tree.h"

#include <string>
#include <utility>

namespace penstock {
namespace {

constexpr Duration SEND_TIMEOUT = seconds(5);
constexpr Duration FOREVER = seconds(1'000'000);

Status answer(Channel& channel, const ChannelMessage& message) {
  switch (message.kind) {
    case MessageKind::CONFIG:
      return channel.send_wait(MessageKind::CONFIG_OK, message.id, {}, SEND_TIMEOUT);
    case MessageKind::PING:
      return channel.send_wait(MessageKind::PONG, message.id, {}, SEND_TIMEOUT);
    case MessageKind::QUERY:
    case MessageKind::ROTATE:
      return channel.send_wait(MessageKind::REPLY, message.id, "{}", SEND_TIMEOUT);
    default:
      return {};
  }
}

}  // namespace

int run_idle_role(int channel_fd) {
  Channel channel(UniqueFd(channel_fd), ChannelSide::ROLE);
  auto start = receive_start(channel);
  if (!start) return 1;
  const auto tree = Tree::from_text(start->config_text, "HELLO", start->generation);
  if (!tree) return 1;
  const auto report = enter_sandbox(role_sandbox(*start, tree->settings()));
  if (!report) {
    (void)channel.send_wait(MessageKind::LOG, 0, report.error().message, SEND_TIMEOUT);
    return 1;
  }
  Status ok = channel.send_wait(MessageKind::READY, 0, encode_ready(ready_report(*report, "none")), SEND_TIMEOUT);
  while (ok) {
    const auto message = channel.receive_wait(FOREVER);
    if (!message) return 1;
    if (message->kind == MessageKind::DRAIN) return 0;
    ok = answer(channel, *message);
  }
  return 1;
}

}  // namespace penstock
