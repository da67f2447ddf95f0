// Channel: the one line between the supervisor and a role (server, logd, keyd): typed messages with descriptors.
//
// A SOCK_SEQPACKET socketpair made by the supervisor; each side owns its end as a Channel, used by one thread.
// A message is {kind, id, payload, descriptors}. A payload above CHANNEL_INLINE_MAX travels as a sealed memfd, more
// descriptors than one packet carries travel in several packets; neither is visible to the caller.
//
// Nothing that arrives is trusted: kind and direction, sizes, counts and seals are checked before a byte is used. The
// supervisor takes no descriptor from a role (RECEIVE_FROM_ROLE). A breach is a ChannelError::BREACH: the supervisor
// kills the role and records the reason; a role that sees one exits.
//
// It never blocks unless a function says so, and it never allocates on behalf of a peer beyond its limits.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

enum class MessageDirection : uint8_t { TO_ROLE, TO_SUPERVISOR };

enum class MessageKind : uint16_t {
#define PENSTOCK_CHANNEL_KIND(name, number, direction, meaning) name = number,
#include "src/admin/channel_kinds.def"
#undef PENSTOCK_CHANNEL_KIND
};

// The kind's name ("CONFIG_OK"), or "?" for a number that is none.
[[nodiscard]] std::string_view message_kind_name(MessageKind kind);

inline constexpr size_t CHANNEL_INLINE_MAX = 60 * 1024;          // above: a sealed memfd
inline constexpr size_t CHANNEL_PAYLOAD_MAX = 16 * 1024 * 1024;  // a config or a reply larger than this is a breach
inline constexpr size_t CHANNEL_PACKET_FDS_MAX = 240;            // SCM_MAX_FD is 253; one is kept for the memfd
inline constexpr size_t CHANNEL_FDS_MAX = 9216;  // 1,024 reactors with four addresses, a journal and a key channel each

struct ChannelMessage {
  MessageKind kind{};
  uint32_t id = 0;            // chosen by the supervisor; 0 where nothing is answered
  std::string payload;        // JSON, or text as the kind says
  std::vector<UniqueFd> fds;  // in the order sent; all close-on-exec
};

// Which of the two ends this is: decides which kinds may arrive and how many descriptors.
enum class ChannelSide : uint8_t { SUPERVISOR, ROLE };

// Error.code of receive(): errno of the system call, or one of these (negative, so never an errno).
inline constexpr int CHANNEL_CLOSED = -1;  // the peer has gone: end of file or reset
inline constexpr int CHANNEL_BREACH = -2;  // the peer broke the protocol; the message says how

class Channel {
 public:
  struct Pair;
  // Both ends: `ours` for the supervisor, `theirs` to be inherited by the role (close-on-exec; dup it to its number).
  [[nodiscard]] static Result<Pair> make_pair();

  // Takes the end over and makes it non-blocking and close-on-exec. REQUIRES: a SOCK_SEQPACKET unix socket.
  Channel(UniqueFd fd, ChannelSide side);
  Channel() = default;  // closed: fd() is -1

  // For epoll or poll: readable means receive() has something to say.
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool open() const { return fd_.valid(); }
  void close();

  // Sends one message or nothing. `fds` stay the caller's. Never blocks: Error.code EAGAIN when the peer has let its
  // buffer fill (nothing of the message was sent), CHANNEL_CLOSED when it has gone.
  [[nodiscard]] Status send(MessageKind kind, uint32_t id, std::string_view payload, std::span<const int> fds = {});

  // send(), waiting up to `timeout` for room. For roles: their control thread may wait for the supervisor.
  [[nodiscard]] Status send_wait(MessageKind kind, uint32_t id, std::string_view payload, Duration timeout);

  // The next whole message, or nothing when none is waiting. Never blocks.
  [[nodiscard]] Result<std::optional<ChannelMessage>> receive();

  // receive(), waiting up to `timeout`; Error.code ETIMEDOUT when nothing came.
  [[nodiscard]] Result<ChannelMessage> receive_wait(Duration timeout);

 private:
  [[nodiscard]] Status send_packet(MessageKind kind, uint32_t id, uint32_t flags, std::string_view payload,
                                   uint32_t payload_bytes, std::span<const int> fds);
  [[nodiscard]] Result<std::optional<ChannelMessage>> take_packet(std::span<const char> packet,
                                                                  std::vector<UniqueFd> fds);

  UniqueFd fd_;
  ChannelSide side_ = ChannelSide::SUPERVISOR;
  std::vector<char> buffer_;               // one packet, reused
  std::optional<ChannelMessage> partial_;  // descriptors of a message whose last packet has not come yet
};

struct Channel::Pair {
  Channel ours;
  UniqueFd theirs;
};

}  // namespace penstock
