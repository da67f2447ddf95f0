// Invariants:
// - A message is one packet, or several that share kind and id: all but the last carry flag MORE and descriptors only.
// - The last packet carries the payload, inline or (flag MEMFD) as its last descriptor, a memfd sealed against change,
//   so that the size checked is the size read.
// - After a breach, or after half a message was sent, the channel is closed: no resynchronisation is attempted.
#include "src/admin/channel.h"

#include "src/base/assert.h"

#include <array>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <utility>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace penstock {
namespace {

constexpr uint32_t CHANNEL_MAGIC = 0x706e7374;  // "pnst"
constexpr uint16_t FLAG_MEMFD = 1;              // the payload is the last descriptor of this packet
constexpr uint16_t FLAG_MORE = 2;               // another packet of the same message follows
constexpr int SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

struct PacketHeader {
  uint32_t magic;
  uint16_t kind;
  uint16_t flags;
  uint32_t id;
  uint32_t payload_bytes;
};
static_assert(sizeof(PacketHeader) == 16);

struct KindRow {
  MessageKind kind;
  MessageDirection direction;
  std::string_view name;
};

constexpr KindRow KINDS[] = {
#define PENSTOCK_CHANNEL_KIND(name, number, direction, meaning) {MessageKind::name, MessageDirection::direction, #name},
#include "src/admin/channel_kinds.def"
#undef PENSTOCK_CHANNEL_KIND
};

const KindRow* find_kind(uint16_t number) {
  for (const KindRow& row : KINDS) {
    if (std::to_underlying(row.kind) == number) return &row;
  }
  return nullptr;
}

std::unexpected<Error> breach(const std::string& how) { return fail("channel: " + how, CHANNEL_BREACH); }

std::unexpected<Error> channel_errno(const char* call, int error) {
  if (error == EPIPE || error == ECONNRESET || error == ENOTCONN) {
    return fail("channel: the other side has gone", CHANNEL_CLOSED);
  }
  return fail_errno(std::string("channel: ") + call, error);
}

// A memfd holding `payload` that nobody can change any more.
Result<UniqueFd> make_sealed_memfd(std::string_view payload) {
  UniqueFd fd(::memfd_create("penstock-message", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL));
  if (!fd.valid() && errno == EINVAL) {  // before Linux 6.3
    fd.reset(::memfd_create("penstock-message", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  }
  if (!fd.valid()) return fail_errno("channel: memfd_create");
  for (size_t done = 0; done < payload.size();) {
    const ssize_t n = ::write(fd.get(), payload.data() + done, payload.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno("channel: write to memfd");
    done += static_cast<size_t>(n);
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, SEALS) != 0) return fail_errno("channel: seal memfd");
  return fd;
}

// The checked content of a memfd that the peer sent.
Result<std::string> read_sealed_memfd(int fd, size_t bytes) {
  const int seals = ::fcntl(fd, F_GET_SEALS);  // fails on anything but a memfd: no read below can block
  if (seals < 0 || (seals & SEALS) != SEALS) return breach("payload descriptor is not a sealed memfd");
  struct stat st {};
  if (::fstat(fd, &st) != 0) return fail_errno("channel: fstat");
  if (st.st_size < 0 || static_cast<uint64_t>(st.st_size) != bytes) return breach("payload size is not the size said");
  std::string text(bytes, '\0');
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = ::pread(fd, text.data() + done, bytes - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return breach("payload cannot be read");
    done += static_cast<size_t>(n);
  }
  return text;
}

// Takes every descriptor out of the control data, so that none leaks whatever follows.
std::vector<UniqueFd> take_fds(msghdr& msg) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

// Waits for `events`; false when `timeout` passed.
bool wait_for(int fd, short events, Duration timeout) {
  pollfd p{fd, events, 0};
  const int ms = timeout.ms() > 1'000'000 ? 1'000'000 : static_cast<int>(timeout.ms());
  int n = 0;
  do {
    n = ::poll(&p, 1, ms);
  } while (n < 0 && errno == EINTR);
  return n > 0;
}

}  // namespace

std::string_view message_kind_name(MessageKind kind) {
  const KindRow* row = find_kind(std::to_underlying(kind));
  return row != nullptr ? row->name : "?";
}

Result<Channel::Pair> Channel::make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno("channel: socketpair");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  return Pair{Channel(std::move(ours), ChannelSide::SUPERVISOR), std::move(theirs)};
}

Channel::Channel(UniqueFd fd, ChannelSide side) : fd_(std::move(fd)), side_(side) {
  ::fcntl(fd_.get(), F_SETFD, FD_CLOEXEC);
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  ::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK);
  buffer_.resize(sizeof(PacketHeader) + CHANNEL_INLINE_MAX);
}

void Channel::close() {
  fd_.reset();
  partial_.reset();
}

Status Channel::send_packet(MessageKind kind, uint32_t id, uint32_t flags, std::string_view payload,
                            uint32_t payload_bytes, std::span<const int> fds) {
  PacketHeader header{CHANNEL_MAGIC, std::to_underlying(kind), static_cast<uint16_t>(flags), id, payload_bytes};
  iovec parts[2] = {{&header, sizeof header}, {const_cast<char*>(payload.data()), payload.size()}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE((CHANNEL_PACKET_FDS_MAX + 1) * sizeof(int))> control{};
  msghdr msg{};
  msg.msg_iov = parts;
  msg.msg_iovlen = payload.empty() ? 1 : 2;
  if (!fds.empty()) {
    ASSERT(fds.size() <= CHANNEL_PACKET_FDS_MAX + 1);
    msg.msg_control = control.data();
    msg.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  ssize_t n = 0;
  do {
    n = ::sendmsg(fd_.get(), &msg, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return channel_errno("sendmsg", errno);
  return {};
}

Status Channel::send(MessageKind kind, uint32_t id, std::string_view payload, std::span<const int> fds) {
  if (!open()) return fail("channel: closed", CHANNEL_CLOSED);
  if (payload.size() > CHANNEL_PAYLOAD_MAX || fds.size() > CHANNEL_FDS_MAX) {
    return fail("channel: message too large", EMSGSIZE);
  }
  const auto bytes = static_cast<uint32_t>(payload.size());
  UniqueFd memfd;
  if (payload.size() > CHANNEL_INLINE_MAX) {
    auto made = make_sealed_memfd(payload);
    if (!made) return std::unexpected(made.error());
    memfd = std::move(*made);
    payload = {};
  }
  bool started = false;
  while (fds.size() > CHANNEL_PACKET_FDS_MAX) {
    const Status sent = send_packet(kind, id, FLAG_MORE, {}, 0, fds.first(CHANNEL_PACKET_FDS_MAX));
    if (!sent) {
      if (started) close();
      return sent;
    }
    started = true;
    fds = fds.subspan(CHANNEL_PACKET_FDS_MAX);
  }
  std::vector<int> last(fds.begin(), fds.end());
  if (memfd.valid()) last.push_back(memfd.get());
  const Status sent = send_packet(kind, id, memfd.valid() ? FLAG_MEMFD : 0, payload, bytes, last);
  if (!sent && started) close();  // half a message cannot be taken back
  return sent;
}

Status Channel::send_wait(MessageKind kind, uint32_t id, std::string_view payload, Duration timeout) {
  Status sent = send(kind, id, payload);
  if (sent || sent.error().code != EAGAIN) return sent;
  if (!wait_for(fd_.get(), POLLOUT, timeout)) return fail("channel: the other side does not read", ETIMEDOUT);
  return send(kind, id, payload);
}

Result<std::optional<ChannelMessage>> Channel::take_packet(std::span<const char> packet, std::vector<UniqueFd> fds) {
  PacketHeader header{};
  if (packet.size() < sizeof header) return breach("packet shorter than its header");
  std::memcpy(&header, packet.data(), sizeof header);
  const std::span<const char> body = packet.subspan(sizeof header);
  const KindRow* row = find_kind(header.kind);
  const MessageDirection wanted =
      side_ == ChannelSide::SUPERVISOR ? MessageDirection::TO_SUPERVISOR : MessageDirection::TO_ROLE;
  if (header.magic != CHANNEL_MAGIC || (header.flags & ~(FLAG_MEMFD | FLAG_MORE)) != 0) return breach("bad header");
  if (row == nullptr || row->direction != wanted) {
    return breach("kind " + std::to_string(header.kind) + " may not come from this side");
  }
  if (header.payload_bytes > CHANNEL_PAYLOAD_MAX) return breach("payload too large");
  if (partial_ && (partial_->kind != row->kind || partial_->id != header.id)) return breach("message broken off");

  ChannelMessage message = partial_ ? std::move(*partial_) : ChannelMessage{row->kind, header.id, {}, {}};
  partial_.reset();
  if ((header.flags & FLAG_MEMFD) != 0) {
    if (fds.empty() || !body.empty() || (header.flags & FLAG_MORE) != 0) return breach("payload descriptor missing");
    const UniqueFd memfd = std::move(fds.back());
    fds.pop_back();
    auto text = read_sealed_memfd(memfd.get(), header.payload_bytes);
    if (!text) return std::unexpected(text.error());
    message.payload = std::move(*text);
  } else {
    if (body.size() != header.payload_bytes) return breach("payload size is not the size said");
    message.payload.assign(body.data(), body.size());
  }
  for (UniqueFd& fd : fds) message.fds.push_back(std::move(fd));
  const size_t fds_max = side_ == ChannelSide::SUPERVISOR ? 0 : CHANNEL_FDS_MAX;
  if (message.fds.size() > fds_max) return breach("too many descriptors");
  if ((header.flags & FLAG_MORE) != 0) {
    if (!message.payload.empty() || message.fds.empty()) return breach("a part without descriptors");
    partial_ = std::move(message);
    return std::optional<ChannelMessage>();
  }
  return std::optional<ChannelMessage>(std::move(message));
}

Result<std::optional<ChannelMessage>> Channel::receive() {
  while (open()) {
    iovec part{buffer_.data(), buffer_.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(253 * sizeof(int))> control;  // SCM_MAX_FD: nothing is cut off
    msghdr msg{};
    msg.msg_iov = &part;
    msg.msg_iovlen = 1;
    msg.msg_control = control.data();
    msg.msg_controllen = control.size();
    const ssize_t n = ::recvmsg(fd_.get(), &msg, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return std::optional<ChannelMessage>();
    if (n < 0) return channel_errno("recvmsg", errno);
    std::vector<UniqueFd> fds = take_fds(msg);
    if (n == 0) return fail("channel: the other side has gone", CHANNEL_CLOSED);
    Result<std::optional<ChannelMessage>> taken = std::optional<ChannelMessage>();
    if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
      taken = breach("packet too large");
    } else {
      taken = take_packet({buffer_.data(), static_cast<size_t>(n)}, std::move(fds));
    }
    if (!taken) close();
    if (!taken || taken->has_value()) return taken;
  }
  return fail("channel: closed", CHANNEL_CLOSED);
}

Result<ChannelMessage> Channel::receive_wait(Duration timeout) {
  // Two rounds are not enough when a message comes in parts; each part restarts the wait, and parts are few.
  for (;;) {
    auto got = receive();
    if (!got) return std::unexpected(got.error());
    if (got->has_value()) return std::move(**got);
    if (!wait_for(fd_.get(), POLLIN, timeout)) return fail("channel: nothing came in time", ETIMEDOUT);
  }
}

}  // namespace penstock
