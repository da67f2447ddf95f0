// Feeds packets of any content to both ends of a channel, then what arrived to the decoders of its payload.
// Checked: nothing crashes, no descriptor leaks, and the supervisor's side never hands out a descriptor.
#include "src/admin/channel.h"
#include "src/admin/key_messages.h"
#include "src/admin/role_messages.h"
#include "src/base/assert.h"

#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <sys/socket.h>
#include <utility>

namespace penstock {
namespace {

void receive_all(Channel& channel, ChannelSide side) {
  for (;;) {
    auto got = channel.receive();
    if (!got || !got->has_value()) return;
    ChannelMessage& message = **got;
    ASSERT(side == ChannelSide::ROLE || message.fds.empty());
    ASSERT(message.payload.size() <= CHANNEL_PAYLOAD_MAX);
    if (message.kind == MessageKind::HELLO)
      (void)decode_start(std::move(message));
    else if (message.kind == MessageKind::CONFIG)
      (void)decode_config(std::move(message));
    else if (message.kind == MessageKind::READY)
      (void)decode_ready(message.payload);
    else if (message.kind == MessageKind::KEY_FILES)
      (void)decode_key_files(message);
    else if (message.kind == MessageKind::KEY_FILE)
      (void)decode_key_file(std::move(message));
    else if (message.kind == MessageKind::KEY_CHANNELS)
      (void)decode_key_channels(std::move(message));
    else if (message.kind == MessageKind::KEY_BREACH)
      (void)decode_key_breach(message);
  }
}

// The input is a row of packets, each after two bytes of length.
void feed(const uint8_t* data, size_t size, ChannelSide side) {
  auto pair = Channel::make_pair();
  ASSERT(pair.has_value());
  Channel writer = side == ChannelSide::ROLE ? std::move(pair->ours) : Channel();
  Channel reader = side == ChannelSide::ROLE ? Channel(std::move(pair->theirs), side) : std::move(pair->ours);
  const UniqueFd raw = side == ChannelSide::ROLE ? UniqueFd() : std::move(pair->theirs);
  const int socket = side == ChannelSide::ROLE ? writer.fd() : raw.get();
  for (int packets = 0; size >= 2 && packets < 16; ++packets) {
    const size_t want = data[0] | static_cast<size_t>(data[1]) << 8;
    const size_t have = want < size - 2 ? want : size - 2;
    if (have > 0) (void)::send(socket, data + 2, have, MSG_DONTWAIT | MSG_NOSIGNAL);
    data += 2 + have;
    size -= 2 + have;
    receive_all(reader, side);
  }
}

// A payload that passed the channel, as a role would get it.
void decode(const uint8_t* data, size_t size) {
  for (const MessageKind kind : {MessageKind::HELLO, MessageKind::CONFIG}) {
    ChannelMessage message;
    message.kind = kind;
    message.payload.assign(reinterpret_cast<const char*>(data), size);
    for (int i = 0; i < 3; ++i) message.fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (kind == MessageKind::HELLO)
      (void)decode_start(std::move(message));
    else
      (void)decode_config(std::move(message));
  }
  (void)decode_ready({reinterpret_cast<const char*>(data), size});
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t way = data[0] % 3;
  if (way == 0) penstock::feed(data + 1, size - 1, penstock::ChannelSide::SUPERVISOR);
  if (way == 1) penstock::feed(data + 1, size - 1, penstock::ChannelSide::ROLE);
  if (way == 2) penstock::decode(data + 1, size - 1);
  // Every descriptor that a case opened is closed again, or this number creeps up.
  const int probe = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT(probe < 32);
  ::close(probe);
  return 0;
}
