#include "src/transport/engine/kernel_path.h"

#include "src/net/wire/byte_order.h"
#include "src/net/wire/ethernet.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/uio.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr size_t MACS_BYTES = 12;
constexpr size_t TAG_BYTES = EthernetHeader::TAG_BYTES;

bool is_tag(const uint8_t* type) {
  const auto value = static_cast<EtherType>(load_be16(type));
  return value == EtherType::VLAN || value == EtherType::SERVICE_VLAN;
}

}  // namespace

KernelPath::KernelPath(int fd, PacketDevice& device, uint16_t mtu, uint16_t vlan_id)
    : fd_(fd),
      device_(device),
      vlan_id_(vlan_id),
      room_bytes_(TAG_BYTES + EthernetHeader::BYTES_MAX + mtu + 1),
      rooms_(size_t{BURST} * room_bytes_) {}

KernelPath::~KernelPath() {
  for (; count_ != 0; --count_) device_.rx_release(queue_[first_++ % QUEUE_MAX].token);
}

bool KernelPath::take(const RxFrame& frame) {
  if (count_ == QUEUE_MAX) {
    ++counts_.drops;
    return false;
  }
  queue_[(first_ + count_++) % QUEUE_MAX] = frame;
  return true;
}

void KernelPath::to_kernel() {
  for (uint32_t left = std::min(count_, BURST); left != 0; --left, --count_) {
    const RxFrame& frame = queue_[first_];
    ++(write(frame) ? counts_.to_kernel : counts_.drops);
    device_.rx_release(frame.token);
    first_ = (first_ + 1) % QUEUE_MAX;
  }
}

// A TAP device takes a frame whole or not at all: not while it is down, or where memory is short.
bool KernelPath::write(const RxFrame& frame) {
  size_t skipped = 0;  // bytes of a tag
  if (vlan_id_ != 0) {
    EthernetHeader header;
    if (parse_ethernet({frame.data, frame.size}, header) != DropReason::NONE || header.bytes == EthernetHeader::BYTES)
      return false;  // without a tag it is none of that VLAN
    if (header.vlan_id == vlan_id_ && header.bytes == EthernetHeader::BYTES + TAG_BYTES) skipped = TAG_BYTES;
  }
  if (frame.size <= MACS_BYTES + skipped) return false;
  auto* bytes = const_cast<uint8_t*>(frame.data);
  const iovec parts[2] = {{bytes, MACS_BYTES}, {bytes + MACS_BYTES + skipped, frame.size - MACS_BYTES - skipped}};
  ++counts_.syscalls;
  ssize_t written = 0;
  do {
    written = ::writev(fd_, parts, 2);
  } while (written < 0 && errno == EINTR);
  return written > 0;
}

KernelPath::Left KernelPath::from_kernel() {
  std::array<TxFrame, BURST> frames;
  uint32_t count = 0;
  Left left = Left::MORE;
  for (uint32_t i = 0; i < BURST; ++i) {
    uint8_t* room = &rooms_[size_t{count} * room_bytes_ + TAG_BYTES];
    ++counts_.syscalls;
    const ssize_t got = ::read(fd_, room, room_bytes_ - TAG_BYTES);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      left = got < 0 && errno != EAGAIN ? Left::LOST : Left::NOTHING;
      break;
    }
    auto bytes = static_cast<uint32_t>(got);
    if (!add_tag(room, bytes)) {
      ++counts_.drops;
      continue;
    }
    frames[count].head = room;
    frames[count++].head_bytes = static_cast<uint16_t>(bytes);
  }
  if (count == 0) return left;
  const size_t sent = device_.tx_burst({frames.data(), count});
  counts_.from_kernel += sent;
  counts_.drops += count - sent;
  return left;
}

// False: larger than the link takes (a room is larger by one byte), or no frame.
bool KernelPath::add_tag(uint8_t*& frame, uint32_t& bytes) const {
  if (bytes < EthernetHeader::BYTES || bytes >= room_bytes_ - TAG_BYTES) return false;
  if (vlan_id_ == 0 || is_tag(frame + MACS_BYTES)) return true;
  frame -= TAG_BYTES;
  bytes += TAG_BYTES;
  std::memmove(frame, frame + TAG_BYTES, MACS_BYTES);
  store_be16(frame + MACS_BYTES, static_cast<uint16_t>(EtherType::VLAN));
  store_be16(frame + MACS_BYTES + 2, vlan_id_);
  return true;
}

}  // namespace penstock
